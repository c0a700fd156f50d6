"""``edgead eval``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from edgead.cli import exit_codes
from edgead.cli.options import (
    Engine,
    EnginePrecision,
    Json,
    Overwrite,
    Precision,
    Quiet,
    RecipeName,
    RecipeSettings,
    Threads,
    parse_settings,
)
from edgead.cli.terminal import Terminal

if TYPE_CHECKING:
    from edgead.evaluation.summary import Summary

_SEVERAL = ("--shots", "--objects", "--sm")


class DatasetName(str, Enum):
    """Choices of ``--dataset``."""

    MVTEC = "mvtec"
    VISA = "visa"
    BTAD = "btad"
    MPDD = "mpdd"
    FOLDER = "folder"


class SeveralValues(TyperCommand):
    """Lets ``--shots 1 2 4`` be said as such: every value up to the next option belongs to it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with the option's name put before each of its values."""
        return super().parse_args(ctx, repeat_option_names(args, _SEVERAL))


def repeat_option_names(arguments: list[str], names: tuple[str, ...]) -> list[str]:
    """``--shots 1 2`` as ``--shots 1 --shots 2``."""
    expanded: list[str] = []
    current = ""
    values = 0
    for argument in arguments:
        if argument.startswith("-"):
            current, values = (argument if argument in names else ""), 0
        elif current:
            values += 1
            if values > 1:
                expanded.append(current)
        expanded.append(argument)
    return expanded


def evaluate(
    *,
    dataset: Annotated[DatasetName, typer.Option(help="How the data set is laid out.")],
    root: Annotated[Path, typer.Option(help="Its folder, as unpacked.")],
    encoder: Annotated[Path, typer.Option(help="Encoder bundle, the folder from `export`.")],
    recipe: RecipeName = "anomalydino",
    settings: RecipeSettings = None,
    shots: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            metavar="K...",
            help="Good pictures to enrol; several: 1 2 4. 0: test pictures against each other.",
            show_default="1",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many different draws of good pictures.")] = 3,
    objects: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Only these objects.", show_default="all there are"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("edgead-eval"),
    pro_limit: Annotated[
        float, typer.Option(help="False-positive rate up to which PRO is integrated.")
    ] = 0.3,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first picture or mask that cannot be used.")
    ] = False,
    overwrite: Overwrite = False,
    engine: Engine = "auto",
    precision: Precision = EnginePrecision.FP32,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure a recipe on a labelled data set: AUROC, AP, F1-max and PRO, with the worst cases to look at.

    OUT gets report.html, results.md, results.csv and results.json. A run that was interrupted goes on where
    it was when the same command is given again. It ends with 0 when everything was inspected, whatever the
    numbers.
    """
    from edgead_runtime import find_recipe

    from edgead.evaluation.datasets import get_dataset
    from edgead.evaluation.metrics import EvaluationError
    from edgead.evaluation.remembering import RememberingEncoder
    from edgead.jobs.evaluate import EvaluationPlan
    from edgead.jobs.evaluate import evaluate as run_evaluation

    terminal = Terminal(quiet=quiet, as_json=as_json)
    if not 0 < pro_limit <= 1:
        raise EvaluationError(f"--pro-limit {pro_limit} is not in (0, 1]", "The papers have 0.3.")
    chosen = get_dataset(dataset.value)
    plan = EvaluationPlan(
        dataset=chosen,
        root=root,
        objects=chosen.objects(root, tuple(objects or ())),
        recipe=find_recipe(recipe).with_(**parse_settings(settings)),
        shots=tuple(dict.fromkeys([1] if shots is None else shots)),
        seeds=seeds,
        out=out,
        pro_limit=pro_limit,
        strict=strict,
        overwrite=overwrite,
    )
    loaded = RememberingEncoder.load(encoder, engine=engine, precision=precision.value, threads=threads)
    with loaded:
        if 0 in plan.shots:
            terminal.say("0-shot is run once for each object: there is nothing for a seed to draw.")
        weights = loaded.manifest.weights
        if not weights.official:
            terminal.warn(f"these are not the official weights: {weights.source}")
        try:
            with terminal.progress() as progress:
                summary = run_evaluation(loaded, plan, note=terminal.say, progress=progress)
        except KeyboardInterrupt:
            terminal.warn(f"the finished runs are kept in {out}; the same command goes on from there")
            raise
    _say_summary(terminal, summary, out)
    terminal.result(_as_data(summary, out))
    raise typer.Exit(exit_codes.WRONG if summary.incomplete else exit_codes.OK)


def _say_summary(terminal: Terminal, summary: Summary, out: Path) -> None:
    from edgead.evaluation.results import METRICS
    from edgead.evaluation.summary import failures
    from edgead.evaluation.tables import metric_title, percent

    terminal.say()
    terminal.say("Per cent, mean ± standard deviation over the seeds:")
    for row in summary.means or summary.rows:
        numbers = [
            f"{metric_title(name, summary.facts.pro_limit)} {percent(row.metrics[name])}"
            for name, _ in METRICS
            if name in row.metrics
        ]
        terminal.say(f"  {row.object}, {row.shots}-shot: {', '.join(numbers) or 'no metric is defined'}")
    for remark in summary.remarks:
        terminal.warn(remark)
    failed = failures(summary.units)
    if failed:
        terminal.warn(f"{len(failed)} could not be used:")
    for file, problem, remedy in failed:
        terminal.warn(f"  {file}: {problem.rstrip('.')}. {remedy}")
    terminal.say(f"Open {out / 'report.html'}")


def _as_data(summary: Summary, out: Path) -> dict[str, Any]:
    from edgead.evaluation.tables import to_json_object

    data = to_json_object(summary, {})
    return {
        "out": str(out),
        "pro_limit": summary.facts.pro_limit,
        "official_weights": summary.facts.official_weights,
        **{key: data[key] for key in ("rows", "means", "remarks", "failed")},
        "not_run": sum(bool(unit.not_run) for unit in summary.units),
    }
