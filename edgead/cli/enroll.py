"""``edgead enroll``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    area_changes,
    parse_layers,
    parse_settings,
)
from edgead.cli.terminal import Terminal, warn_passed_over

if TYPE_CHECKING:
    from edgead_runtime import Detector

    from edgead.jobs.enroll import EnrollmentPlan
    from edgead.selection.choose import Choice


class Morphology(str, Enum):
    """Choices of ``--mask-morphology``."""

    OFFICIAL = "official"
    TWO_D = "2d"


class KeepAs(str, Enum):
    """Choices of ``--keep-as``."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


_FROM_RECIPE = "the recipe's"


def enroll(
    *,
    encoder: Annotated[Path, typer.Option(help="Encoder bundle, the folder from `export`.")],
    good: Annotated[Path, typer.Option(help="Folder of good pictures, or one picture.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Detector file to write, e.g. part.edgead.")],
    recipe: RecipeName = "anomalydino",
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N,...",
            help="Blocks whose outputs are used; repeat it or separate by commas.",
            show_default="the encoder's deepest",
        ),
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
    area_image: Annotated[
        Path | None,
        typer.Option(help="Inspect only what is white in this picture, drawn over a good one."),
    ] = None,
    area_polygon: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y ...",
            help="Inspect only inside these corners, in shares of width and height: "
            '"0.1,0.1 0.9,0.1 0.5,0.9".',
        ),
    ] = None,
    top_fraction: Annotated[
        float | None,
        typer.Option(help="Share of the patches that make the score.", show_default=_FROM_RECIPE),
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option(help="Smoothing of the anomaly map, sigma in pixels.", show_default=_FROM_RECIPE),
    ] = None,
    coreset: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE|COUNT",
            help="Keep only the patches of the good pictures that stand for the others best: a share such "
            "as 0.25, or a number such as 8000.",
            show_default="all",
        ),
    ] = None,
    keep_as: Annotated[
        KeepAs | None,
        typer.Option(help="What patches are kept in; int8 quarters the file.", show_default=_FROM_RECIPE),
    ] = None,
    settings: RecipeSettings = None,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Try changes of the recipe on the good pictures with synthetic defects, and take one that "
            "is clearly better. What another option sets stays. Needs two good pictures.",
        ),
    ] = False,
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
    engine: Engine = "auto",
    precision: Precision = EnginePrecision.FP32,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a detector from good pictures, with a sheet that shows what it will ignore."""
    from edgead_runtime import Encoder, find_recipe
    from edgead_runtime.recipe import EIGHT_TURNS

    from edgead.evaluation.remembering import RememberingEncoder
    from edgead.jobs.enroll import (
        EnrollmentPlan,
        check_outputs,
        default_sheet,
        enroll_part,
        good_pictures,
        with_chosen_recipe,
    )

    terminal = Terminal(quiet=quiet, as_json=as_json)
    area = area_changes(area_image, area_polygon)
    options: dict[str, Any] = {
        "layers": parse_layers(layers) if layers else None,
        "rotations_deg": None if rotations is None else (EIGHT_TURNS if rotations else EIGHT_TURNS[:1]),
        "mask": mask and mask.value,
        "mask_threshold": mask_threshold,
        "mask_morphology": mask_morphology and mask_morphology.value,
        "top_fraction": top_fraction,
        "smoothing_sigma_px": smoothing,
        "coreset": coreset,
        "keep_as": keep_as and keep_as.value,
    }
    changes = area | {name: value for name, value in options.items() if value is not None}
    changes.update(parse_settings(settings))
    plan = EnrollmentPlan(
        good=good_pictures(good, shots),
        out=out,
        sheet=sheet or default_sheet(out),
        recipe=find_recipe(recipe).with_(**changes),
        calibration=() if calibrate is None else good_pictures(calibrate),
        false_alarm_rate=false_alarm_rate,
        threshold=threshold,
        self_contained=self_contained,
    )
    warn_passed_over(terminal, [good, *([calibrate] if calibrate else [])])
    check_outputs(plan.out, plan.sheet, good, overwrite=overwrite)
    choice = None
    loading: dict[str, Any] = {"engine": engine, "precision": precision.value, "threads": threads}
    # With --auto, what was encoded for the choice is not encoded again for the bank.
    remembering = RememberingEncoder.load(encoder, **loading) if auto else None
    loaded = remembering or Encoder.load(encoder, **loading)
    with loaded, terminal.progress() as progress:
        if remembering is not None:
            plan, choice = with_chosen_recipe(remembering, plan, fixed=changes, progress=progress)
        detector = enroll_part(loaded, plan, progress)
    if not detector.provenance.official_weights:
        terminal.warn(f"these are not the official weights: {detector.provenance.weights}")
    if choice is not None:
        say_choice(terminal, choice)
    say_enrollment(terminal, detector, plan)
    terminal.say(f"Inspect pictures with: edgead detect {shlex.quote(str(plan.out))} PICTURES -o results")
    terminal.result(_summary(detector, plan, choice))


def say_choice(terminal: Terminal, choice: Choice) -> None:
    """Print what ``--auto`` tried and what it took."""
    from edgead.selection.outcome import as_lines

    for line in as_lines(choice):
        terminal.say(line)


def say_enrollment(terminal: Terminal, detector: Detector, plan: EnrollmentPlan) -> None:
    """Print what was enrolled and what a person should know of it."""
    from edgead_runtime.calibration import explain
    from edgead_runtime.coreset import words

    from edgead.wording import count_of, mask_sentence

    terminal.say(f"Enrolled {count_of(len(detector.references), 'good picture')} in {plan.out}.")
    terminal.say(mask_sentence(detector.mask, detector.recipe.background_weight))
    terminal.say(explain(detector.calibration))
    for record in detector.coreset:
        terminal.say(f"Kept {detector.rows:,} of {record.rows:,} patches: {words(record)}.")
    for note in detector.notes:
        terminal.say(f"Note: {note}")
    terminal.say(f"Look at {plan.sheet}: it shows every good picture and what of it is masked or cut off.")


def _summary(detector: Detector, plan: EnrollmentPlan, choice: Choice | None) -> dict[str, Any]:
    from msgspec import to_builtins

    from edgead.selection.outcome import as_data

    return {
        "detector": str(plan.out),
        "sheet": str(plan.sheet),
        "references": [reference.picture.name for reference in detector.references],
        "recipe": asdict(detector.recipe),
        "mask": to_builtins(detector.mask),
        "calibration": to_builtins(detector.calibration),
        "patches": detector.rows,
        "coreset": to_builtins(detector.coreset),
        "notes": list(detector.notes),
        "official_weights": detector.provenance.official_weights,
        "auto": None if choice is None else as_data(choice),
    }
