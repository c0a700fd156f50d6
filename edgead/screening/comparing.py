"""From the patches of a batch to what is said of each picture."""

from __future__ import annotations

import functools
import time

import numpy as np
from edgead_runtime import Encoder, Result
from edgead_runtime.anomaly_map import Region, find_regions
from edgead_runtime.batch_zero_shot import BatchTokens, batch_distances
from edgead_runtime.masking import Mask
from edgead_runtime.pipeline import Pipeline
from edgead_runtime.recipe import Recipe
from edgead_runtime.result import Provenance
from edgead_runtime.scoring import image_score
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
    start = time.perf_counter()
    score = image_score(distances, pipeline.recipe.top_fraction, pipeline.recipe.statistic)
    timings = {**timings_ms, "score": (time.perf_counter() - start) * 1e3}
    distances.flags.writeable = False  # the map is made from it later
    return Result(
        score=score,
        threshold=guess.threshold,
        patch_distances=distances,
        mask=mask,
        provenance=provenance_of(pipeline.encoder, pipeline.recipe),
        _make_map=functools.partial(pipeline.make_map, distances, frame_hw),
        _find_regions=functools.partial(_find_regions, guess.pixel_threshold),
        _timings_ms=timings,
    )


def _find_regions(
    pixel_threshold: float, anomaly_map: NDArray[np.float32], is_anomaly: bool
) -> tuple[Region, ...]:
    return find_regions(anomaly_map, pixel_threshold, at_least_one=is_anomaly)


def provenance_of(encoder: Encoder, recipe: Recipe) -> Provenance:
    """Encoder, weights and recipe."""
    weights = encoder.manifest.weights
    return Provenance(
        encoder=encoder.fingerprint,
        backbone=encoder.manifest.backbone,
        weights=weights.source,
        official_weights=weights.official,
        recipe=recipe.name,
        engine=encoder.engine_name,
    )
