"""``edgead diff``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgead.cli import exit_codes
from edgead.cli.options import Engine, Json, Quiet, Threads
from edgead.cli.terminal import Terminal, warn_passed_over

EXPLANATION = (
    "Exit codes: 0 nothing that decides a result differs (dates may); 1 something does; 2 something was "
    "wrong with the input or the machine, or some pictures could not be inspected (they are listed); "
    "70 a bug in edgead; 130 interrupted."
)


def diff(
    *,
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A .edgead file.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another.")],
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Inspect these pictures with both: whose verdict or score changes; may be repeated.",
        ),
    ] = None,
    encoder: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Encoder bundle for --pictures; may be repeated, where the two have different ones.",
            show_default="inside the detectors, or where they were enrolled",
        ),
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Accept pictures of another size than the good ones.")
    ] = False,
    engine: Engine = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """What changed between two detectors: good pictures, bank, thresholds, recipe, encoder, tuning.

    With --pictures also how verdicts and scores change, those that flip first.
    """
    from edgead_runtime.images import find_pictures

    from edgead.jobs.diff import compare_detectors
    from edgead.jobs.diff_pictures import compare_on_pictures
    from edgead.jobs.diff_words import difference_lines, pictures_lines

    terminal = Terminal(quiet=quiet, as_json=as_json)
    difference = compare_detectors(before, after)
    terminal.say(f"{before} -> {after}")
    for line in difference_lines(difference):
        terminal.say(line)
    summary = difference.summary()
    code = exit_codes.OK if difference.is_same else exit_codes.DIFFERENT
    if pictures:
        paths = find_pictures(pictures)
        if not paths:
            raise typer.BadParameter(f"there are no pictures in {', '.join(map(str, pictures))}")
        warn_passed_over(terminal, pictures)
        with terminal.progress() as progress:
            compared = compare_on_pictures(
                before,
                after,
                paths,
                encoders=encoder or (),
                engine=engine,
                threads=threads,
                any_size=any_size,
                progress=progress,
            )
        terminal.say()
        for line in pictures_lines(compared):
            terminal.say(line)
        for record in compared.failed:
            terminal.warn(f"not inspected: {record.file}: {record.problem}. {record.remedy}")
        summary["pictures"] = compared.summary()
        code = exit_codes.WRONG if compared.failed else code
    terminal.result(summary)
    return code
