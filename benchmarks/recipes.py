"""What each change of a recipe is worth on real defects, and whether ``enroll --auto`` finds the right one.

    python -m benchmarks.recipes --root MVTEC --encoder BUNDLE --shots 4 --seeds 3

Every object of a folder in MVTec-AD's layout: the base recipe, each candidate of
:mod:`edgead.selection.candidates`, and what is chosen from the good pictures alone, on the same test
pictures. The choice sees no test picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from edgead_runtime import find_recipe, read_picture

from benchmarks.common import save, table
from edgead.evaluation.datasets import Category, few_shot, get_dataset
from edgead.evaluation.pixel_metrics import PRO_LIMIT
from edgead.evaluation.remembering import RememberingEncoder
from edgead.evaluation.results import UnitResult
from edgead.jobs.evaluate.unit import UnitTask, run_unit
from edgead.selection.choose import Choice, choose_recipe

_METRICS = ("image_auroc", "pixel_auroc", "pixel_ap", "pro")
_AUTO = "--auto"


@dataclass(frozen=True)
class Row:
    """One recipe on one object with one draw of good pictures."""

    object: str
    seed: int
    name: str
    separation: float
    """On synthetic defects, see :class:`edgead.selection.trials.Trial`."""
    bank_kb: float
    metrics: dict[str, float]
    false_alarms: int
    """Good test pictures above the calibrated threshold."""
    misses: int
    """Defective test pictures at or below it."""


def measure(encoder: RememberingEncoder, category: Category, shots: int, seed: int, base: str) -> list[Row]:
    """Choose, and run everything that was tried on the test pictures."""
    good = [read_picture(path) for path in few_shot(category.train, shots, seed)]
    choice = choose_recipe(encoder, good, find_recipe(base))
    print(f"{category.name}, seed {seed}: {choice.reason}", flush=True)
    rows = _rows(encoder, category, shots, seed, choice)
    chosen = next(row for row in rows if row.name == choice.chosen.candidate.name)
    return [*rows, Row(**{**asdict(chosen), "name": _AUTO})]


def _rows(
    encoder: RememberingEncoder, category: Category, shots: int, seed: int, choice: Choice
) -> list[Row]:
    rows = []
    for trial in choice.trials:
        task = UnitTask(category, shots, seed, trial.recipe, PRO_LIMIT, settings="")
        unit = run_unit(encoder, task, strict=True)
        false_alarms, misses = _wrong(unit)
        rows.append(
            Row(
                category.name,
                seed,
                trial.candidate.name,
                trial.separation,
                trial.bank_kb,
                {name: unit.metrics[name] for name in _METRICS if name in unit.metrics},
                false_alarms,
                misses,
            )
        )
    return rows


def _wrong(unit: UnitResult) -> tuple[int, int]:
    pictures = unit.pictures
    return (
        sum(picture.alarm and not picture.anomalous for picture in pictures),
        sum(picture.anomalous and not picture.alarm for picture in pictures),
    )


def _summary(rows: Sequence[Row]) -> list[list[object]]:
    """A line for every object and recipe: means over the seeds."""
    lines: list[list[object]] = []
    for name, recipe in dict.fromkeys((row.object, row.name) for row in rows):
        same = [row for row in rows if (row.object, row.name) == (name, recipe)]

        def average(value: Callable[[Row], float], same: list[Row] = same) -> float:
            return mean(value(row) for row in same)

        lines.append(
            [
                name,
                recipe,
                f"{average(lambda row: row.separation):.3f}",
                *(
                    _percent([row.metrics[metric] for row in same if metric in row.metrics])
                    for metric in _METRICS
                ),
                f"{average(lambda row: row.false_alarms):.1f}",
                f"{average(lambda row: row.misses):.1f}",
                f"{average(lambda row: row.bank_kb) / 1000:.1f}",
            ]
        )
    return lines


def _percent(values: Sequence[float]) -> str:
    return f"{100 * mean(values):.1f}" if values else "-"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--recipe", default="anomalydino")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--objects", nargs="*")
    options = parser.parse_args()
    dataset = get_dataset("mvtec")
    rows: list[Row] = []
    with RememberingEncoder.load(options.encoder) as encoder:
        facts = encoder.manifest
        for name in options.objects or dataset.objects(options.root, ()):
            encoder.forget()
            category = dataset.load(options.root, name)
            for seed in range(options.seeds):
                rows += measure(encoder, category, options.shots, seed, options.recipe)
    header = ["object", "recipe", "separation", "image AUROC", "pixel AUROC", "pixel AP", "PRO"]
    header += ["false alarms", "misses", "bank MB"]
    title = (
        f"{options.recipe}, {options.shots} shots, seeds 0 to {options.seeds - 1}; {facts.backbone}, "
        f"{facts.input.width} x {facts.input.height} px, weights {facts.weights.source}. "
        "Means over the seeds."
    )
    data = {"title": title, "rows": [asdict(row) for row in rows]}
    save("recipes", f"{title}\n\n{table(header, _summary(rows))}", data)


if __name__ == "__main__":
    main()
