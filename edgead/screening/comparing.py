"""From the patches of a batch to what is said of each picture."""

from __future__ import annotations

import numpy as np
from edgead_runtime import Result
from edgead_runtime.batch_zero_shot import BatchTokens, batch_distances
from edgead_runtime.masking import Mask
from edgead_runtime.patch_distances import PatchDistances
from edgead_runtime.pipeline import Clock, Pipeline
from edgead_runtime.pipeline import make_result as result_from
from numpy.typing import NDArray

from edgead.screening.guess import ThresholdGuess


def compare_with_others(
    pipeline: Pipeline, tokens: BatchTokens, index: int, mask: Mask | None
) -> NDArray[np.float32]:
    """Distances ``[rows, columns]`` of a picture to all the others; ignored patches 0, or damped.

    Args:
        pipeline: The method.
        tokens: The batch, copies left out.
        index: Which picture.
        mask: Its mask ``[rows, columns]``; the others count with all their patches, as in the release.
    """
    recipe = pipeline.recipe
    # What will be deleted need not be compared.
    deleted = mask is not None and recipe.background_weight == 0
    wanted = mask.ravel() if mask is not None and deleted else None
    distances = batch_distances(tokens, index, recipe, wanted=wanted)
    return pipeline.weigh(distances.reshape(pipeline.encoder.manifest.grid), mask)


def make_result(
    pipeline: Pipeline,
    distances: NDArray[np.float32],
    mask: Mask | None,
    frame_hw: tuple[int, int],
    guess: ThresholdGuess,
    timings_ms: dict[str, float],
) -> Result:
    """The same kind of result as a detector gives.

    Args:
        pipeline: The method.
        distances: From :func:`compare_with_others`.
        mask: The picture's ``[rows, columns]``.
        frame_hw: Its size.
        guess: The thresholds.
        timings_ms: By stage; ``score`` and ``map`` are added.
    """
    clock = Clock(dict(timings_ms))
    return result_from(pipeline, frame_hw, PatchDistances.alike(distances), mask, guess, clock)
