"""``edgead screen``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgead.cli.detect import exit_code, say_failed
from edgead.cli.options import (
    Engine,
    EnginePrecision,
    Json,
    MaskChoice,
    Overwrite,
    Precision,
    Quiet,
    RecipeName,
    RecipeSettings,
    Threads,
    parse_settings,
)
from edgead.cli.terminal import Terminal, warn_passed_over

if TYPE_CHECKING:
    from edgead.jobs.screen import Screening


def screen(
    *,
    pictures: Annotated[
        list[Path], typer.Argument(metavar="FOLDERS", help="Folders of pictures, or pictures.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    encoder: Annotated[Path, typer.Option(help="Encoder bundle, the folder from `export`.")],
    recipe: RecipeName = "anomalydino",
    settings: RecipeSettings = None,
    mask: Annotated[
        MaskChoice | None,
        typer.Option(
            help="Ignore what is not the part; auto decides from 16 of the pictures.",
            show_default="the recipe's",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first picture that cannot be read.")
    ] = False,
    report_limit: Annotated[
        int, typer.Option(min=0, help="Pictures that the report shows with images, highest scores first.")
    ] = 200,
    overwrite: Overwrite = False,
    engine: Engine = "auto",
    precision: Precision = EnginePrecision.FP32,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Rank pictures of which nobody knows which are good: each is compared with all the others.

    OUT gets report.html, results.jsonl, results.csv and overlays/, as from `detect`. Most of the pictures
    must be good, and the threshold is a guess from their scores: `anomalous` means above that guess. The time
    grows with the square of the number of pictures. A screening that was interrupted goes on where it was
    when the same command is given again.
    """
    from edgead_runtime import Encoder, find_recipe

    from edgead.jobs.results_folder import pictures_to_inspect
    from edgead.jobs.screen import ScreeningPlan
    from edgead.jobs.screen import screen as run_screening
    from edgead.jobs.screen.work import WORK, check_screening_folder

    terminal = Terminal(quiet=quiet, as_json=as_json)
    check_screening_folder(out, overwrite=overwrite)
    chosen = find_recipe(recipe).with_(**parse_settings(settings))
    plan = ScreeningPlan(
        paths=tuple(pictures_to_inspect(pictures, out)),
        out=out,
        recipe=chosen if mask is None else chosen.with_(mask=mask.value),
        report_limit=report_limit,
        strict=strict,
        overwrite=overwrite,
    )
    warn_passed_over(terminal, pictures)
    with Encoder.load(encoder, engine=engine, precision=precision.value, threads=threads) as loaded:
        weights = loaded.manifest.weights
        if not weights.official:
            terminal.warn(f"these are not the official weights: {weights.source}")
        try:
            with terminal.progress() as progress:
                screening = run_screening(loaded, plan, progress)
        except KeyboardInterrupt:
            if (out / WORK).is_dir():
                terminal.warn(f"what is done is kept in {out / WORK}; the same command goes on from there")
            raise
    _say(terminal, screening)
    say_failed(terminal, screening)
    terminal.result(screening.summary())
    raise typer.Exit(exit_code(screening))


def _say(terminal: Terminal, screening: Screening) -> None:
    from edgead.wording import count_of, mask_sentence, shortened

    if screening.copies:
        pairs = [f"{copy} of {first}" for copy, first in screening.copies.items()]
        verb = "is a copy and counts" if len(pairs) == 1 else "are copies and count"
        terminal.warn(f"{count_of(len(pairs), 'picture')} {verb} once for the others: {shortened(pairs)}")
    terminal.say(mask_sentence(screening.mask, screening.background_weight))
    terminal.say(screening.guess.explain())
    for note in screening.notes:
        terminal.say(f"Note: {note}")
    terminal.say(
        f"{len(screening.inspected)} compared, {screening.anomalies} above the guess. "
        f"Look at them from the top: {screening.report}"
    )
