"""Enrolling good pictures and drawing the sheet that a person checks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from edgead_runtime import Detector, Encoder, Recipe, read_picture
from edgead_runtime.alignment import warp
from edgead_runtime.bank import Reference
from edgead_runtime.calibration import check_rate, check_threshold, explain
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import EnrollmentError, OutputError
from edgead_runtime.files import write_atomic
from edgead_runtime.images import Frame, encode_png, find_pictures

from edgead.evaluation.remembering import RememberingEncoder
from edgead.jobs.output_files import check_output_file
from edgead.report.aligned_pairs import MAX_PAIR_TILE_PX, AlignedPair
from edgead.report.contact_sheet import Tile, draw_contact_sheet
from edgead.report.overlay import fit_longest_side
from edgead.selection.choose import Choice, choose_recipe
from edgead.wording import background_words, count_of, mask_sentence


@dataclass(frozen=True)
class EnrollmentPlan:
    """What is enrolled and where the results go."""

    good: tuple[Path, ...]
    out: Path
    sheet: Path
    recipe: Recipe
    calibration: tuple[Path, ...] = ()
    false_alarm_rate: float | None = None
    threshold: float | None = None
    self_contained: bool = False


def default_sheet(out: Path) -> Path:
    """``part.edgead`` -> ``part.enrolment.png`` beside it."""
    return out.with_suffix(".enrolment.png")


def good_pictures(folder: Path, shots: int | None = None) -> tuple[Path, ...]:
    """The pictures of a folder in sorted order, the first ``shots`` of them.

    Raises:
        EnrollmentError: There are none, or fewer than asked for.
        PictureError: There is no such folder.
    """
    found = find_pictures([folder])
    if not found:
        raise EnrollmentError(
            f"there are no pictures in {folder}",
            "Put at least one picture (PNG, JPEG, ...) of a good part there.",
        )
    if shots is not None and shots > len(found):
        raise EnrollmentError(
            f"--shots {shots} asks for more than the {count_of(len(found), 'picture')} in {folder}",
            f"Give --shots {len(found)} or less, or leave it out.",
        )
    return tuple(found[:shots])


def check_outputs(out: Path, sheet: Path, good: Path, *, overwrite: bool) -> None:
    """Check before the work that the results can be written and replace nothing unasked.

    Raises:
        OutputError: They cannot, or would.
    """
    for path in (out, sheet):
        check_output_file(path, overwrite=overwrite)
    if good.is_dir() and sheet.resolve().is_relative_to(good.resolve()):
        raise OutputError(
            f"the sheet {sheet} would lie among the good pictures and be enrolled next time",
            "Give -o or --sheet a place outside that folder.",
        )


def with_chosen_recipe(
    encoder: RememberingEncoder,
    plan: EnrollmentPlan,
    *,
    fixed: Collection[str] = (),
    progress: Progress = ignore_progress,
) -> tuple[EnrollmentPlan, Choice]:
    """The plan with the recipe that its good pictures speak for, and how that was found.

    Args:
        encoder: Remembers what it encodes, for the enrolment that follows.
        plan: Its recipe is the base.
        fixed: Fields of the recipe that a person has set.
        progress: Told of the stage ``choose``.

    Raises:
        EdgeadError: There are fewer than two good pictures, or one cannot be used.
    """
    # What enrolment would refuse afterwards is refused before minutes of trying.
    check_rate(
        len(plan.calibration) or len(plan.good), plan.false_alarm_rate, held_out=bool(plan.calibration)
    )
    if plan.threshold is not None:
        check_threshold(plan.threshold)
    good = [read_picture(path) for path in plan.good]
    choice = choose_recipe(encoder, good, plan.recipe, fixed=fixed, progress=progress)
    return replace(plan, recipe=choice.recipe), choice


def enroll_part(encoder: Encoder, plan: EnrollmentPlan, progress: Progress = ignore_progress) -> Detector:
    """Enrol, save the detector and draw its sheet.

    Raises:
        EdgeadError: A picture, an option or a place to write to is not usable.
    """
    detector = Detector.enroll(
        encoder,
        [read_picture(path) for path in plan.good],
        recipe=plan.recipe,
        calibration_good=[read_picture(path) for path in plan.calibration],
        false_alarm_rate=plan.false_alarm_rate,
        threshold=plan.threshold,
        progress=progress,
    )
    sheet = enrollment_sheet(detector, plan.out.name, left_out=not plan.calibration)
    detector.save(plan.out, self_contained=plan.self_contained)
    write_atomic(plan.sheet, sheet)
    return detector


def enrollment_sheet(detector: Detector, name: str, *, left_out: bool) -> bytes:
    """The sheet of a freshly enrolled detector as PNG.

    Args:
        detector: The detector.
        name: Its file's name.
        left_out: Whether its calibration scores are those of its references, each left out in turn.
    """
    references = detector.references
    normal_scores = detector.calibration.normal_scores
    scores: Sequence[float | None] = [None] * len(references)
    if left_out and len(references) > 1:
        scores = normal_scores
    lines = [mask_sentence(detector.mask, detector.recipe.background_weight), explain(detector.calibration)]
    if detector.mask.enabled:
        fate = background_words(detector.recipe.background_weight)
        lines.append(f"Dark, hatched areas {fate}: check that no part of the product is under them.")
    if any(score is not None for score in scores):
        lines.append(
            "Score: how unusual a picture is beside the other references. "
            "One far above the rest is perhaps not good, or of another variant."
        )
    tiles = [_tile(detector, reference, score) for reference, score in zip(references, scores, strict=True)]
    headline = f"{name}: {count_of(len(references), 'good picture')} enrolled"
    return encode_png(draw_contact_sheet(headline, lines, tiles, _aligned_pairs(references)))


def _aligned_pairs(references: Sequence[Reference]) -> list[AlignedPair]:
    """Each reference that was to be laid over the first one."""

    def small(frame: Frame) -> Frame:
        # Of no more than is shown, or a hundred references of 20 megapixels would fill the memory.
        return fit_longest_side(frame, 1, 2 * MAX_PAIR_TILE_PX)

    first = references[0]
    fixed = small(first.picture.frame)
    pairs = []
    for reference in references[1:]:
        if reference.alignment is None:
            continue
        frame = reference.picture.frame
        pairs.append(
            AlignedPair(
                fixed_name=first.picture.name,
                moving_name=reference.picture.name,
                fixed=fixed,
                before=small(frame),
                after=small(warp(frame, reference.alignment, first.frame_hw)),
                found=reference.alignment.found,
                reason=reference.alignment.reason,
            )
        )
    return pairs


def _tile(detector: Detector, reference: Reference, score: float | None) -> Tile:
    encoder = detector.encoder
    plan = encoder.preprocessor.plan(reference.frame_hw)
    everything = np.ones(encoder.manifest.grid, dtype=np.bool_)
    return Tile(
        name=reference.picture.name,
        frame=reference.picture.frame,
        inspected=everything if reference.mask is None else reference.mask,
        covered=(plan.crop[0] / plan.resized[0], plan.crop[1] / plan.resized[1]),
        score=score,
        sets_threshold=score == detector.threshold,
    )
