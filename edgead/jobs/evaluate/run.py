"""A whole evaluation: every object, number of shots and seed; continued where an earlier run ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgead_runtime
from edgead_runtime import Recipe
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import OutputError
from edgead_runtime.files import output_error, write_atomic
from edgead_runtime.pipeline import check_fits

from edgead._version import __version__
from edgead.evaluation.comparability import RunFacts
from edgead.evaluation.datasets import Category, Dataset
from edgead.evaluation.remembering import RememberingEncoder
from edgead.evaluation.results import UnitResult, load_unit, save_unit
from edgead.evaluation.summary import Summary, summarize
from edgead.jobs.evaluate.outputs import RunTexts, write_outputs
from edgead.jobs.evaluate.unit import UnitTask, run_unit
from edgead.jobs.evaluate.zero_shot import run_batch_unit
from edgead.jobs.file_states import file_state, recipe_state, what_differs
from edgead.records import shown_path, writable
from edgead.screening.encoding import check_batch_fits
from edgead.wording import blocks, sentence

SETTINGS_JSON = "settings.json"
UNITS = "units"


@dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate."""

    dataset: Dataset
    root: Path
    objects: tuple[str, ...]
    recipe: Recipe
    shots: tuple[int, ...]
    seeds: int
    """Seeds 0 to ``seeds - 1``."""
    out: Path
    pro_limit: float
    strict: bool = False
    overwrite: bool = False

    def seeds_of(self, shots: int) -> range:
        """A seed draws good pictures; with 0 shots there are none, and one run is all there is."""
        return range(self.seeds if shots else 1)


def evaluate(
    encoder: RememberingEncoder,
    plan: EvaluationPlan,
    *,
    note: Callable[[str], None] = lambda _: None,
    progress: Progress = ignore_progress,
) -> Summary:
    """Run what is not done yet, and write the results.

    Each unit's file is written when it is finished, whole or not at all, so that an interrupted run loses
    at most the unit it was at. Units of an earlier run with the same settings on the same files are kept.

    Args:
        encoder: Shared by all units; not closed.
        plan: What to evaluate.
        note: Told in a sentence of each unit.
        progress: Told after each picture.

    Raises:
        OutputError: ``plan.out`` holds something else, or cannot be written.
        DatasetError: The data set cannot be read.
        RecipeError: The recipe does not fit the encoder.
        PictureError: With ``plan.strict``, a picture cannot be read.
    """
    categories = [plan.dataset.load(plan.root, name) for name in plan.objects]
    check_fits(encoder, plan.recipe)
    if 0 in plan.shots:
        check_batch_fits(encoder, plan.recipe)
    settings = _run_settings(encoder, plan)
    prepare_folder(plan.out, settings, overwrite=plan.overwrite)
    runs = sum(len(plan.seeds_of(shots)) for shots in plan.shots)
    steps = _Steps(sum(len(c.test) for c in categories) * runs, progress)
    units: list[UnitResult] = []
    for category in categories:
        encoder.forget()
        for task in _tasks(plan, category, settings):
            path = plan.out / UNITS / f"{category.name}-{task.shots}-shot-seed-{task.seed}.json"
            unit = load_unit(path, task.settings)
            if unit is None or (plan.strict and (unit.failed or unit.not_run)):
                before = steps.done
                run = run_unit if task.shots else run_batch_unit
                unit = run(encoder, task, strict=plan.strict, seen=steps.one)
                save_unit(path, unit)
                note(_sentence(unit))
                steps.to(before + len(category.test))
            else:
                steps.to(steps.done + len(category.test))
                note(f"{_sentence(unit)} (from the earlier run)")
            units.append(unit)
    facts = RunFacts.of(plan.dataset.name, encoder, plan.recipe, plan.seeds, plan.pro_limit)
    summary = summarize(units, facts)
    write_outputs(plan.out, summary, _texts(encoder, plan, settings))
    return summary


def prepare_folder(out: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
    """Make the results folder, or go on in one of the same settings.

    Raises:
        OutputError: It is a file, holds something else, holds results of other settings and ``overwrite``
            is off, or cannot be written.
    """
    mark = out / SETTINGS_JSON
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, and results are a folder", "Give another --out.")
    if out.exists() and any(out.iterdir()):
        if not mark.is_file():
            raise OutputError(
                f"{out} holds files that are no evaluation, and they are not replaced", "Give another --out."
            )
        before = mark.read_text(encoding="utf-8", errors="replace")
        if before != text and not overwrite:
            raise OutputError(
                f"{out} holds an evaluation with other settings ({what_differs(before, text)})",
                "Give another --out, or --overwrite to replace it.",
            )
    try:
        (out / UNITS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    write_atomic(mark, text.encode())


@dataclass
class _Steps:
    """Where the progress bar stands."""

    total: int
    progress: Progress
    done: int = 0

    def one(self) -> None:
        """One picture more."""
        self.to(self.done + 1)

    def to(self, done: int) -> None:
        """Stand at ``done`` pictures."""
        self.done = done
        self.progress("evaluating", done, self.total)


def _tasks(plan: EvaluationPlan, category: Category, settings: dict[str, Any]) -> Iterator[UnitTask]:
    def shown(path: Path) -> str:
        return shown_path(path.relative_to(plan.root)) if path.is_relative_to(plan.root) else shown_path(path)

    # The references are a slice of all of them, so one file more or less may change every unit.
    files = [*category.train, *(sample.path for sample in category.test)]
    files += [sample.mask_path for sample in category.test if sample.mask_path is not None]
    listing = [(shown(path), *file_state(path)) for path in files]
    for shots in plan.shots:
        for seed in plan.seeds_of(shots):
            decisive = [settings, category.name, shots, seed, listing]
            yield UnitTask(
                category=category,
                shots=shots,
                seed=seed,
                recipe=plan.recipe,
                pro_limit=plan.pro_limit,
                settings=hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
                shown=shown,
            )


def _run_settings(encoder: RememberingEncoder, plan: EvaluationPlan) -> dict[str, Any]:
    """What all units have in common and what decides their numbers."""
    manifest = encoder.manifest
    return {
        "dataset": plan.dataset.name,
        "backbone": manifest.backbone,
        "input": [manifest.input.height, manifest.input.width],
        "layers": [output.layer for output in encoder.feature_outputs(plan.recipe.layers)],
        "encoder": encoder.fingerprint,
        "engine": encoder.engine_name,
        "weights": manifest.weights.source,
        "official_weights": manifest.weights.official,
        "recipe": recipe_state(plan.recipe),
        "pro_limit": plan.pro_limit,
        "edgead": __version__,
        "edgead_runtime": edgead_runtime.__version__,
    }


def _sentence(unit: UnitResult) -> str:
    if unit.not_run:
        return f"{unit.title}: not run. {unit.not_run}"
    shown = [
        f"{name} {100 * unit.metrics[key]:.1f}"
        for key, name in (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC"), ("pro", "PRO"))
        if key in unit.metrics
    ]
    return f"{unit.title}: {', '.join(shown) or 'no metric is defined'}"


def _texts(encoder: RememberingEncoder, plan: EvaluationPlan, settings: dict[str, Any]) -> RunTexts:
    manifest = encoder.manifest
    weights = manifest.weights
    height, width = manifest.input.height, manifest.input.width
    folder = writable(plan.root.resolve().name)
    return RunTexts(
        title=f"Evaluation on {folder} ({plan.dataset.title})",
        official_weights=weights.official,
        backbone=manifest.backbone,
        weights_note=sentence(weights.note),
        rows=(
            ("Data set", f"{folder}, in the layout of {plan.dataset.title}"),
            ("References", _references(plan)),
            ("Recipe", f"{plan.recipe.name}: {plan.recipe.summary} Source: {plan.recipe.source}"),
            ("Backbone", f"{manifest.backbone}, {blocks(settings['layers'])}, {width} x {height} px"),
            (
                "Weights",
                f"{weights.source} ({'official' if weights.official else 'NOT official'}; {weights.licence})",
            ),
            ("Encoder", f"fingerprint {encoder.fingerprint[:16]}…, {encoder.engine_name}"),
            ("PRO", f"integrated up to a false-positive rate of {plan.pro_limit:g}, divided by it"),
            ("Versions", f"edgead {__version__}, edgead-runtime {edgead_runtime.__version__}"),
        ),
        settings={**settings, "shots": list(plan.shots), "seeds": plan.seeds, "objects": list(plan.objects)},
    )


def _references(plan: EvaluationPlan) -> str:
    seeds = "0" if plan.seeds == 1 else f"0 to {plan.seeds - 1}"
    few_shot = f"sorted(train)[seed x shots : (seed + 1) x shots], seeds {seeds}"
    batch = (
        "0 shots: each test picture is compared with all the others of its object, once, since there is "
        "nothing for a seed to draw; the threshold is a guess from their scores"
    )
    return "; ".join([*([few_shot] if any(plan.shots) else []), *([] if all(plan.shots) else [batch])])
