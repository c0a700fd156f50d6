"""``edgead enroll``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgead.cli.options import Json, MaskChoice, Overwrite, Quiet, RecipeName, Threads
from edgead.cli.terminal import Terminal, warn_passed_over

if TYPE_CHECKING:
    from edgead_runtime import Detector

    from edgead.jobs.enroll import EnrollmentPlan


class Morphology(str, Enum):
    """Choices of ``--mask-morphology``."""

    OFFICIAL = "official"
    TWO_D = "2d"


_FROM_RECIPE = "the recipe's"


def enroll(
    *,
    encoder: Annotated[Path, typer.Option(help="Encoder bundle, the folder from `export`.")],
    good: Annotated[Path, typer.Option(help="Folder of good pictures, or one picture.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Detector file to write, e.g. part.edgead.")],
    recipe: RecipeName = "anomalydino",
    layer: Annotated[
        int | None, typer.Option(help="Block whose output is used.", show_default="the encoder's deepest")
    ] = None,
    rotations: Annotated[
        bool | None,
        typer.Option(
            "--rotations/--no-rotations",
            help="Enter each good picture in eight turns. Without is faster, for parts that do not turn.",
            show_default=_FROM_RECIPE,
        ),
    ] = None,
    mask: Annotated[
        MaskChoice | None,
        typer.Option(
            help="Ignore what is not the part; auto decides and says why.", show_default=_FROM_RECIPE
        ),
    ] = None,
    mask_threshold: Annotated[
        float | None, typer.Option(help="Where the mask cuts.", show_default="found from the pictures")
    ] = None,
    mask_morphology: Annotated[
        Morphology | None, typer.Option(help="How the mask grows.", show_default=_FROM_RECIPE)
    ] = None,
    top_fraction: Annotated[
        float | None,
        typer.Option(help="Share of the patches that make the score.", show_default=_FROM_RECIPE),
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(help="Smoothing of the anomaly map, sigma in pixels.", show_default=_FROM_RECIPE),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=1, help="Use the first N good pictures only.", show_default="all")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Folder of more good pictures that only set the threshold.", show_default="leave one out"
        ),
    ] = None,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="Rate not to exceed, e.g. 0.05.", show_default="the lowest that can be claimed"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Set the threshold by hand.", show_default="calibrated")
    ] = None,
    self_contained: Annotated[
        bool, typer.Option("--self-contained", help="Put the encoder inside the detector file.")
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Picture of what was enrolled.", show_default="NAME.enrolment.png beside OUT"),
    ] = None,
    overwrite: Overwrite = False,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a detector from good pictures, with a sheet that shows what it will ignore."""
    from edgead_runtime import Encoder, find_recipe
    from edgead_runtime.recipe import EIGHT_TURNS

    from edgead.jobs.enroll import (
        EnrollmentPlan,
        check_outputs,
        default_sheet,
        enroll_part,
        good_pictures,
    )

    terminal = Terminal(quiet=quiet, as_json=as_json)
    changes: dict[str, Any] = {
        "layer": layer,
        "rotations_deg": None if rotations is None else (EIGHT_TURNS if rotations else EIGHT_TURNS[:1]),
        "mask": mask and mask.value,
        "mask_threshold": mask_threshold,
        "mask_morphology": mask_morphology and mask_morphology.value,
        "top_fraction": top_fraction,
        "smoothing_sigma_px": smoothing,
    }
    plan = EnrollmentPlan(
        good=good_pictures(good, shots),
        out=out,
        sheet=sheet or default_sheet(out),
        recipe=find_recipe(recipe).with_(
            **{name: value for name, value in changes.items() if value is not None}
        ),
        calibration=() if calibrate is None else good_pictures(calibrate),
        false_alarm_rate=false_alarm_rate,
        threshold=threshold,
        self_contained=self_contained,
    )
    warn_passed_over(terminal, [good, *([calibrate] if calibrate else [])])
    check_outputs(plan.out, plan.sheet, good, overwrite=overwrite)
    with Encoder.load(encoder, threads=threads) as loaded, terminal.progress() as progress:
        detector = enroll_part(loaded, plan, progress)
    if not detector.provenance.official_weights:
        terminal.warn(f"these are not the official weights: {detector.provenance.weights}")
    say_enrollment(terminal, detector, plan)
    terminal.say(f"Inspect pictures with: edgead detect {shlex.quote(str(plan.out))} PICTURES -o results")
    terminal.result(_summary(detector, plan))


def say_enrollment(terminal: Terminal, detector: Detector, plan: EnrollmentPlan) -> None:
    """Print what was enrolled and what a person should know of it."""
    from edgead_runtime.calibration import explain

    from edgead.wording import count_of, mask_sentence

    terminal.say(f"Enrolled {count_of(len(detector.references), 'good picture')} in {plan.out}.")
    terminal.say(mask_sentence(detector.mask, detector.recipe.background_weight))
    terminal.say(explain(detector.calibration))
    for note in detector.notes:
        terminal.say(f"Note: {note}")
    terminal.say(f"Look at {plan.sheet}: it shows every good picture and what of it is masked or cut off.")


def _summary(detector: Detector, plan: EnrollmentPlan) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        "detector": str(plan.out),
        "sheet": str(plan.sheet),
        "references": [reference.picture.name for reference in detector.references],
        "recipe": asdict(detector.recipe),
        "mask": to_builtins(detector.mask),
        "calibration": to_builtins(detector.calibration),
        "notes": list(detector.notes),
        "official_weights": detector.provenance.official_weights,
    }
