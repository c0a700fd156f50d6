"""The way of a frame: one encoder, one recipe and one mask decision, from pixels to a result."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.anomaly_map import Region, find_regions, make_map
from edgead_runtime.bank import Reference, embed_reference, normalize, search
from edgead_runtime.calibration import NormalScore
from edgead_runtime.encoder import Encoder, PatchFeatures
from edgead_runtime.errors import RecipeError
from edgead_runtime.images import Frame, Picture
from edgead_runtime.manifest import Calibration, MaskDecision
from edgead_runtime.masking import Mask, attention_mask, pca_mask
from edgead_runtime.recipe import Recipe
from edgead_runtime.result import Provenance, Result
from edgead_runtime.scoring import image_score


@dataclass(frozen=True)
class Pipeline:
    """The part of a method that is the same for enrolment and detection: one encoder, one recipe, one mask.

    Thread-safe and immutable.
    """

    encoder: Encoder
    recipe: Recipe
    mask: MaskDecision

    def __post_init__(self) -> None:
        check_fits(self.encoder, self.recipe)

    def encode(self, frame: Frame, timings_ms: dict[str, float] | None = None) -> PatchFeatures:
        """Patch features of the recipe's layer."""
        return self.encoder.encode(frame, layer=self.recipe.layer, timings_ms=timings_ms)

    def find_mask(self, features: PatchFeatures) -> Mask | None:
        """The mask of a picture, by the detector's one decision; ``None`` where that is not to mask."""
        if not self.mask.enabled:
            return None
        return make_mask(features, self.recipe, self.mask.threshold)

    def embed(self, picture: Picture, as_taken: PatchFeatures, *, added_later: bool = False) -> Reference:
        """A picture, whose features as taken are known, as a reference of the bank."""
        return embed_reference(
            picture,
            as_taken,
            self.encode,
            self.recipe,
            self.find_mask(as_taken),
            added="add_good" if added_later else "enrollment",
        )

    def masked_distances(
        self,
        tokens: NDArray[np.float32],
        mask: Mask | None,
        references: Sequence[Reference],
        leave_out: int | None = None,
    ) -> NDArray[np.float32]:
        """Distances ``[rows, columns]`` with ignored patches 0, or damped as the recipe says.

        Args:
            tokens: L2-normalized ``[N, D]``.
            mask: ``[rows, columns]`` or ``None``.
            references: The bank.
            leave_out: Index of a reference to skip.
        """
        distances = search(tokens, references, self.recipe, leave_out=leave_out)
        return self.weigh(distances.reshape(self.encoder.manifest.grid), mask)

    def weigh(self, distances: NDArray[np.float32], mask: Mask | None) -> NDArray[np.float32]:
        """Delete or damp what is outside the mask."""
        if mask is None:
            return distances
        return np.where(mask, distances, distances * np.float32(self.recipe.background_weight))

    def make_map(self, distances: NDArray[np.float32], frame_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Map ``[H, W]`` of a frame of this size from its distances ``[rows, columns]``."""
        whole = self.recipe.map_extent == "frame"
        return make_map(
            distances,
            frame_hw,
            self.recipe.smoothing_sigma_px,
            inspected_hw=None if whole else self.encoder.preprocessor.plan(frame_hw).inspected_hw(frame_hw),
        )

    def normal_score(self, distances: NDArray[np.float32], frame_hw: tuple[int, int]) -> NormalScore:
        """Image score and map peak of a good picture."""
        anomaly_map = self.make_map(distances, frame_hw)
        return NormalScore(
            image=image_score(distances, self.recipe.top_fraction, self.recipe.statistic),
            map_peak=float(anomaly_map.max()),
        )

    def score_picture(self, frame: Frame, references: Sequence[Reference]) -> NormalScore:
        """Score of a good picture that is not in the bank."""
        features = self.encode(frame)
        distances = self.masked_distances(normalize(features.tokens), self.find_mask(features), references)
        return self.normal_score(distances, (frame.shape[0], frame.shape[1]))


def check_fits(encoder: Encoder, recipe: Recipe) -> None:
    """Refuse a recipe that needs what the encoder does not give.

    Raises:
        RecipeError: The encoder lacks the recipe's layer, or the attention that its mask is made from.
    """
    encoder.feature_output(recipe.layer)
    if recipe.mask_from == "attention" and recipe.mask != "off" and encoder.manifest.attention is None:
        raise RecipeError(
            f"recipe '{recipe.name}' makes its mask from attention, which the encoder does not give",
            "Export it again with --attention, or choose another mask.",
        )


def make_mask(features: PatchFeatures, recipe: Recipe, threshold: float | None) -> Mask:
    """The mask of a picture as the recipe makes it."""
    if recipe.mask_from == "attention":
        if features.attention is None or threshold is None:
            raise ValueError("an attention mask needs attention and a threshold")
        return attention_mask(features.attention, features.grid, threshold=threshold)
    return pca_mask(features.tokens, features.grid, threshold=threshold, morphology=recipe.mask_morphology)


def inspect(
    pipeline: Pipeline,
    frame: Frame,
    references: Sequence[Reference],
    calibration: Calibration,
    provenance: Provenance,
) -> Result:
    """Compare one frame with the bank.

    Args:
        pipeline: The method.
        frame: ``[H, W, 3]`` uint8, BGR.
        references: The bank.
        calibration: The thresholds.
        provenance: What the result says of where it comes from.
    """
    timings: dict[str, float] = {}
    features = pipeline.encode(frame, timings)
    start = time.perf_counter()
    mask = pipeline.find_mask(features)
    masked = time.perf_counter()
    distances = pipeline.masked_distances(normalize(features.tokens), mask, references)
    searched = time.perf_counter()
    score = image_score(distances, pipeline.recipe.top_fraction, pipeline.recipe.statistic)
    if mask is not None:
        timings["mask"] = (masked - start) * 1e3
    timings["search"] = (searched - masked) * 1e3
    timings["score"] = (time.perf_counter() - searched) * 1e3
    distances.flags.writeable = False  # the map is made from it later
    return Result(
        score=score,
        threshold=calibration.threshold,
        patch_distances=distances,
        mask=mask,
        provenance=provenance,
        _make_map=functools.partial(pipeline.make_map, distances, (frame.shape[0], frame.shape[1])),
        _find_regions=functools.partial(_find_regions, calibration.pixel_threshold),
        _timings_ms=timings,
    )


def _find_regions(
    pixel_threshold: float, anomaly_map: NDArray[np.float32], is_anomaly: bool
) -> tuple[Region, ...]:
    return find_regions(anomaly_map, pixel_threshold, at_least_one=is_anomaly)
