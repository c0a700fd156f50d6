"""A unit of 0 shots: the object's test pictures are compared with each other (batched zero-shot)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from edgead_runtime import Encoder, read_picture
from edgead_runtime.errors import PictureError
from edgead_runtime.masking import Mask
from edgead_runtime.patch_distances import PatchDistances
from edgead_runtime.pipeline import Pipeline
from numpy.typing import NDArray

from edgead.evaluation.results import UnitResult
from edgead.jobs.evaluate.unit import Findings, UnitTask, as_problem, conclude, find
from edgead.screening.comparing import compare_with_others, make_result
from edgead.screening.encoding import EncodedPicture, decide_batch_mask, encode_frame, patch_shape
from edgead.screening.guess import guess_thresholds
from edgead.wording import count_of


@dataclass(frozen=True, eq=False)
class _Batch:
    """The test pictures that could be read, copies once."""

    tokens: NDArray[np.float32]
    """L2-normalized ``[pictures, N, D]``."""
    masks: list[Mask | None]
    sizes: list[tuple[int, int]]
    """(height, width)."""
    place: dict[int, int]
    """Which of them each test picture is."""


def run_batch_unit(
    encoder: Encoder, task: UnitTask, *, strict: bool, seen: Callable[[], None] = lambda: None
) -> UnitResult:
    """Compare every test picture with all the others of its object.

    The features of all of them are in memory at once: 1.5 MB a picture at 448 px with ViT-S/14.

    Args:
        encoder: Shared by all units; not closed.
        task: What to run; its seed plays no part.
        strict: Raise at the first picture or mask that cannot be used, instead of listing it.
        seen: Called after each test picture.

    Raises:
        RecipeError: The recipe does not fit the encoder.
        PictureError: With ``strict``, a picture cannot be read.
        DatasetError: With ``strict``, a mask cannot be used.
    """
    findings = Findings()
    decision, sampled = decide_batch_mask(
        encoder, task.recipe, [sample.path for sample in task.category.test]
    )
    pipeline = Pipeline(encoder, task.recipe, decision)
    batch = _encode(pipeline, task, sampled, findings, strict)
    if len(batch.tokens) < 2:
        return task.blank(not_run="0 shots need two different test pictures that can be read")
    distances = [
        compare_with_others(pipeline, batch.tokens, index, mask) for index, mask in enumerate(batch.masks)
    ]
    guess = guess_thresholds(
        [
            pipeline.normal_score(PatchDistances.alike(found), size)
            for found, size in zip(distances, batch.sizes, strict=True)
        ]
    )
    for index, sample in enumerate(task.category.test):
        if index in batch.place:
            place = batch.place[index]
            frame = read_picture(sample.path).frame
            result = make_result(
                pipeline, distances[place], batch.masks[place], batch.sizes[place], guess, timings_ms={}
            )
            find(sample, frame, result, guess.pixel_threshold, task, findings, strict=strict)
        seen()
    copies = len(batch.place) - len(batch.tokens)
    remarks = [f"{count_of(copies, 'copy', 'copies')} of other test pictures counted once."] if copies else []
    return conclude(task, findings, decision, guess.threshold, remarks=remarks)


def _encode(
    pipeline: Pipeline,
    task: UnitTask,
    sampled: dict[int, EncodedPicture],
    findings: Findings,
    strict: bool,
) -> _Batch:
    samples = task.category.test
    tokens = np.empty((len(samples), *patch_shape(pipeline.encoder, task.recipe)), dtype=np.float32)
    batch = _Batch(tokens, [], [], {})
    places: dict[str, int] = {}
    for index, sample in enumerate(samples):
        try:
            encoded = sampled.pop(index, None) or encode_frame(
                pipeline.encoder, task.recipe, read_picture(sample.path).frame
            )
        except PictureError as error:
            if strict:
                raise
            findings.failed.append(as_problem(task.shown(sample.path), error))
            continue
        batch.place[index] = places.setdefault(encoded.digest, len(places))
        if len(places) > len(batch.masks):
            tokens[batch.place[index]] = encoded.patches
            batch.masks.append(pipeline.find_mask(encoded.features))
            batch.sizes.append(encoded.frame_hw)
    return replace(batch, tokens=tokens[: len(places)])
