"""The same part enrolled again with another encoder: the same good pictures, recipe, mask rule and rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from edgead_runtime.areas import area_from_rows, area_to_rows
from edgead_runtime.detector import Detector
from edgead_runtime.encoder import Encoder, PatchFeatures
from edgead_runtime.enrollment import (
    Progress,
    calibrate_memory,
    decide_mask,
    encode_as_taken,
    fill_memory,
    ignore_progress,
)
from edgead_runtime.errors import EncoderMismatchError, EnrollmentError
from edgead_runtime.images import Picture
from edgead_runtime.leading import Companion
from edgead_runtime.manifest import Calibration, EncoderManifest, MaskDecision
from edgead_runtime.pipeline import Pipeline
from edgead_runtime.recipe import Recipe
from edgead_runtime.tuning import in_proportion


def check_sibling(own: EncoderManifest, other: EncoderManifest, layers: Sequence[int], source: str) -> None:
    """Refuse an encoder that is not the same backbone with the same weights.

    Args:
        own: The detector's.
        other: The one that is to stand beside it.
        layers: Those that the detector uses.
        source: Of the other, for messages.

    Raises:
        EncoderMismatchError: Backbone, weights or layers differ.
    """
    remedy = f"Export {own.backbone} with the weights of the detector's encoder and another --res."
    if other.backbone != own.backbone:
        raise EncoderMismatchError(
            f"{source} is {other.backbone}, and the detector was enrolled with {own.backbone}", remedy
        )
    if (other.weights.source, other.weights.sha256) != (own.weights.source, own.weights.sha256):
        raise EncoderMismatchError(
            f"{source} has other weights ({other.weights.source}) than the detector's encoder "
            f"({own.weights.source})",
            remedy,
        )
    features = {output.layer: (output.dim, output.final_norm) for output in own.features}
    theirs = {output.layer: (output.dim, output.final_norm) for output in other.features}
    lacking = [layer for layer in layers if theirs.get(layer) != features[layer]]
    if lacking:
        raise EncoderMismatchError(
            f"{source} has no layer {', '.join(map(str, lacking))}, which the detector uses",
            f"Export it again with --layers {','.join(map(str, layers))}.",
        )


def enroll_like(
    full: Detector,
    encoder: Encoder,
    calibration_good: Sequence[Picture] = (),
    progress: Progress = ignore_progress,
) -> Companion:
    """Enrol the good pictures of a detector with another encoder.

    The mask is made where the detector makes one, with a threshold of this encoder's own; an area that was
    drawn is carried over. The threshold is chosen as the detector's own was, at the same false-alarm rate.
    Where it was set by hand, or from pictures that are not kept, it is set in proportion instead.

    Args:
        full: The detector.
        encoder: The other one; shared, not closed.
        calibration_good: The held-out pictures of its enrolment, where there were some.
        progress: Told of the stages ``encode``, ``bank`` and ``calibrate``.

    Raises:
        EncoderMismatchError: It is not the same backbone, weights and layers.
        EnrollmentError: The good pictures cannot be calibrated with it.
    """
    check_sibling(full.encoder.manifest, encoder.manifest, full.layers, encoder.bundle.source)
    recipe = full.recipe.with_(layers=full.layers)
    enrolled = [reference for reference in full.references if reference.added == "enrollment"]
    pictures = [reference.picture for reference in enrolled]
    as_taken = encode_as_taken(encoder, recipe, pictures, progress)
    mask = _mask_like(full, encoder, recipe, as_taken)
    pipeline = Pipeline(encoder, recipe, mask)
    memory = fill_memory(pipeline, pictures, as_taken, progress)
    full_memory = full._state.memory.of(enrolled)
    # Like for like, whatever the detector's own threshold came from.
    ours = calibrate_memory(pipeline, memory, progress=progress)
    theirs = calibrate_memory(full._pipeline, full_memory)
    if min(ours.threshold, ours.pixel_threshold, theirs.threshold, theirs.pixel_threshold) <= 0:
        raise EnrollmentError(
            "to one of the encoders the good pictures are all the same, so thresholds have no proportion",
            "Enrol with pictures of different parts, or without the other encoder.",
        )
    scale = ours.threshold / theirs.threshold
    map_scale = ours.pixel_threshold / theirs.pixel_threshold
    detector = Detector(pipeline, memory.condensed, ours, any_size=True)
    for reference in full.references[len(enrolled) :]:
        detector.add_good(reference.picture, reference.picture.name)
    calibration = _calibration_like(full.calibration, detector, ours, calibration_good, progress)
    if calibration is None:
        calibration = in_proportion(ours, full.calibration, scale, map_scale)
    made = Detector(pipeline, detector._state.memory, calibration, any_size=True)
    return Companion(made, scale, map_scale)


def _mask_like(
    full: Detector, encoder: Encoder, recipe: Recipe, as_taken: Sequence[PatchFeatures]
) -> MaskDecision:
    decided = full.mask
    if not decided.enabled:
        return decided
    frame_hw = full.references[0].frame_hw
    if decided.area is not None:
        pixels = full.encoder.preprocessor.pixels_of(area_from_rows(decided.area), frame_hw)
        area = encoder.preprocessor.patches_touched(np.asarray(pixels, dtype=np.bool_))
        return msgspec.structs.replace(decided, area=area_to_rows(area))
    made = decide_mask(encoder, replace(recipe, mask="on"), as_taken, frame_hw)
    return msgspec.structs.replace(made, requested=decided.requested, reason=decided.reason)


def _calibration_like(
    own: Calibration,
    detector: Detector,
    left_out: Calibration,
    calibration_good: Sequence[Picture],
    progress: Progress,
) -> Calibration | None:
    """A calibration from the same pictures at the same rate; ``None`` where that cannot be had.

    Args:
        own: The full setting's.
        detector: The new one, with every good picture.
        left_out: From the pictures of its enrolment, at the lowest rate.
        calibration_good: Held-out pictures.
        progress: Told of the stage ``calibrate``.
    """
    if own.method == "self-similarity":
        return left_out
    if own.method == "held-out" and len(calibration_good) == own.pictures:
        return calibrate_memory(
            detector._pipeline, detector._state.memory, calibration_good, own.false_alarm_rate, progress
        )
    if own.method != "leave-one-out":
        return None
    if own.pictures == left_out.pictures:
        memory = detector._state.memory
        enrolled = tuple(each for each in memory.references if each.added == "enrollment")
        return calibrate_memory(detector._pipeline, memory.of(enrolled), (), own.false_alarm_rate)
    if own.pictures == len(detector.references):
        return calibrate_memory(detector._pipeline, detector._state.memory, (), own.false_alarm_rate)
    return None
