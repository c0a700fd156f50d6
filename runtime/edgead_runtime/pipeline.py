"""The way of a frame: one encoder, one recipe and one mask decision, from pixels to a result."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.alignment import Landmarks, align, find_landmarks
from edgead_runtime.anomaly_map import Region, find_regions, make_map
from edgead_runtime.areas import area_from_rows
from edgead_runtime.bank import Layers, Reference, embed_reference, normalize
from edgead_runtime.blas_threads import one_blas_thread
from edgead_runtime.calibration import NormalScore
from edgead_runtime.encoder import Encoder, PatchFeatures
from edgead_runtime.errors import RecipeError
from edgead_runtime.images import Frame, Picture
from edgead_runtime.manifest import MaskDecision
from edgead_runtime.masking import Mask, attention_mask, pca_mask
from edgead_runtime.memory import Memory
from edgead_runtime.patch_distances import PatchDistances
from edgead_runtime.realign import Realigner
from edgead_runtime.recipe import Recipe
from edgead_runtime.result import Provenance, Result
from edgead_runtime.scoring import image_score, mean_distance, scored_count
from edgead_runtime.settling import settle
from edgead_runtime.views import views_of


@dataclass(frozen=True)
class Pipeline:
    """The part of a method that is the same for enrolment and detection: one encoder, one recipe, one mask.

    Thread-safe and immutable.
    """

    encoder: Encoder
    recipe: Recipe
    mask: MaskDecision
    foreground_only: bool = True
    """Search for the patches inside the mask alone, where the others are deleted anyway."""

    def __post_init__(self) -> None:
        check_fits(self.encoder, self.recipe)

    @cached_property
    def _realign(self) -> Realigner:
        return Realigner(self.recipe, self.encode, self.landmarks)

    @cached_property
    def provenance(self) -> Provenance:
        """What results say of where they come from."""
        weights = self.encoder.manifest.weights
        return Provenance(
            encoder=self.encoder.fingerprint,
            backbone=self.encoder.manifest.backbone,
            weights=weights.source,
            official_weights=weights.official,
            recipe=self.recipe.name,
            engine=self.encoder.engine_name,
        )

    def encode(self, frame: Frame, timings_ms: dict[str, float] | None = None) -> PatchFeatures:
        """Patch features of the recipe's layers."""
        return self.encoder.encode(frame, layers=self.recipe.layers, timings_ms=timings_ms)

    @property
    def masks_by_features(self) -> bool:
        """Whether :meth:`find_mask` needs the features of the picture."""
        return self.mask.enabled and self.mask.area is None

    def find_mask(self, features: PatchFeatures | None) -> Mask | None:
        """The mask of a picture, by the detector's one decision; ``None`` where that is not to mask."""
        if not self.mask.enabled:
            return None
        if self.mask.area is not None:
            return area_from_rows(self.mask.area)
        if features is None:
            raise ValueError("this mask is made from features")
        return make_mask(features, self.recipe, self.mask.threshold)

    def landmarks(self, frame: Frame, mask: Mask | None) -> Landmarks:
        """The landmarks of a frame, of the part alone where it is masked."""
        size = (frame.shape[0], frame.shape[1])
        return find_landmarks(
            frame, None if mask is None else self.encoder.preprocessor.pixels_of(mask, size)
        )

    def landmarks_to_align_to(self, first: Reference) -> Landmarks | None:
        """Those of the first reference, where the recipe aligns the others to it at enrolment."""
        if self.recipe.align != "enrolment":
            return None
        return self.landmarks(first.picture.frame, first.mask)

    def embed(
        self,
        picture: Picture,
        as_taken: PatchFeatures,
        fixed: Landmarks | None = None,
        *,
        added_later: bool = False,
    ) -> Reference:
        """A picture, whose features as taken are known, as a reference.

        Args:
            picture: The good picture.
            as_taken: Its features.
            fixed: What it is aligned to, from :meth:`landmarks_to_align_to`.
            added_later: It came in after enrolment.
        """
        alignment = None
        frame_hw = (picture.frame.shape[0], picture.frame.shape[1])
        mask = self.find_mask(as_taken)
        if fixed is not None:
            alignment = align(self.landmarks(picture.frame, mask), fixed)
            frame_hw = fixed.frame_hw
        return embed_reference(
            picture,
            as_taken,
            self.encode,
            self.recipe,
            views_of(self.recipe, alignment, frame_hw),
            mask=mask,
            alignment=alignment,
            added="add_good" if added_later else "enrollment",
        )

    def memory_for(self, memory: Memory, frame: Frame, mask: Mask | None) -> tuple[Memory, tuple[str, ...]]:
        """The memory to compare a frame with, and what could not be aligned to it, in sentences."""
        if self.recipe.align != "frame":
            return memory, ()
        return self._realign(memory, frame, mask)

    def compare(self, queries: Layers, mask: Mask | None, memory: Memory) -> PatchDistances:
        """Distances of a picture's patches to what good parts look like.

        Where the memory has an approximate index, those that the image score is made from are exact all the
        same, and the others are at least what they should be.

        Args:
            queries: L2-normalized patches ``[N, D]`` a layer.
            mask: ``[rows, columns]`` or ``None``.
            memory: What it is compared with.
        """
        if memory.is_exact:
            return self.combine(self._found(queries, mask, memory), mask)
        exact = memory.exactly()
        # A few patches to the whole bank is a matter of reading it, which one thread does as well.
        with one_blas_thread():
            return settle(
                self._found(queries, mask, memory),
                count=scored_count(len(queries[0]), self.recipe.top_fraction, self.recipe.statistic),
                exactly=lambda patches: exact.distances(tuple(tokens[patches] for tokens in queries)),
                combine=lambda found: self.combine(found, mask),
            )

    def _found(self, queries: Layers, mask: Mask | None, memory: Memory) -> Layers:
        """Distances as the memory finds them, 0 where they will be deleted."""
        if mask is None or not self.foreground_only or self.recipe.background_weight > 0:
            return memory.distances(queries)
        # What is deleted needs no distance: for a part on a quarter of the frame, the search is a quarter.
        inside = mask.ravel()
        found = memory.distances(tuple(tokens[inside] for tokens in queries))
        spread = tuple(np.zeros(inside.size, dtype=np.float32) for _ in found)
        for whole, part in zip(spread, found, strict=True):
            whole[inside] = part
        return spread

    def combine(self, distances: Layers, mask: Mask | None) -> PatchDistances:
        """One distance a patch from those of the layers ``[N]``, masked."""
        grid = self.encoder.manifest.grid
        mean = distances[0] if len(distances) == 1 else np.mean(distances, axis=0, dtype=np.float32)
        for_map = self.weigh(np.asarray(mean, dtype=np.float32).reshape(grid), mask)
        if len(distances) == 1 or self.recipe.score_layers == "all":
            return PatchDistances.alike(for_map)
        return PatchDistances(for_map, self.weigh(distances[-1].reshape(grid), mask))

    def weigh(self, distances: NDArray[np.float32], mask: Mask | None) -> NDArray[np.float32]:
        """Delete or damp what is outside the mask."""
        if mask is None:
            return distances
        return np.where(mask, distances, distances * np.float32(self.recipe.background_weight))

    def score(self, distances: PatchDistances) -> float:
        """Image score."""
        return image_score(distances.for_score, self.recipe.top_fraction, self.recipe.statistic)

    def make_map(self, distances: NDArray[np.float32], frame_hw: tuple[int, int]) -> NDArray[np.float32]:
        """Map ``[H, W]`` of a frame of this size from its distances ``[rows, columns]``."""
        return make_map(
            distances, frame_hw, self.recipe.smoothing_sigma_px, inspected_hw=self.map_extent(frame_hw)
        )

    def map_extent(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Size (height, width) of the part of the frame, from its top left, that the map lies over."""
        if self.recipe.map_extent == "frame":
            return frame_hw
        return self.encoder.preprocessor.plan(frame_hw).inspected_hw(frame_hw)

    def normal_score(
        self, distances: PatchDistances, frame_hw: tuple[int, int], mask: Mask | None = None
    ) -> NormalScore:
        """Image score, map peak and mean patch distance of a good picture."""
        return NormalScore(
            image=self.score(distances),
            map_peak=float(self.make_map(distances.for_map, frame_hw).max()),
            mean=mean_distance(distances.for_map, mask),
        )

    def score_picture(self, frame: Frame, memory: Memory) -> NormalScore:
        """Score of a good picture that is not in the memory."""
        features = self.encode(frame)
        mask = self.find_mask(features)
        aligned, _ = self.memory_for(memory, frame, mask)
        distances = self.compare(tuple(map(normalize, features.layers)), mask, aligned)
        return self.normal_score(distances, (frame.shape[0], frame.shape[1]), mask)

    def score_reference(self, reference: Reference, others: Memory) -> NormalScore:
        """Score of a reference against a memory that it is not in."""
        if self.recipe.align == "frame":
            others, _ = self.memory_for(others, reference.picture.frame, reference.mask)
        distances = self.compare(self.patches_as_taken(reference), reference.mask, others)
        return self.normal_score(distances, reference.frame_hw, reference.mask)

    def patches_as_taken(self, reference: Reference) -> Layers:
        """L2-normalized patches ``[N, D]`` a layer of a reference, encoded anew where they are not kept."""
        if reference.tokens and not reference.kept:
            return reference.as_taken
        return tuple(map(normalize, self.encode(reference.picture.frame).layers))


def check_fits(encoder: Encoder, recipe: Recipe) -> None:
    """Refuse a recipe that needs what the encoder does not give.

    Raises:
        RecipeError: The encoder lacks a layer of the recipe, or the attention that its mask is made from, or
            its features are no larger than the recipe's subspace.
    """
    outputs = encoder.feature_outputs(recipe.layers)
    smallest = min(output.dim for output in outputs)
    if recipe.head == "subspace" and recipe.subspace_components >= smallest:
        raise RecipeError(
            f"recipe '{recipe.name}' keeps {recipe.subspace_components} components of features that have "
            f"{smallest}, so that nothing would be outside",
            f"Give fewer subspace_components, for example {max(1, smallest // 6)}.",
        )
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


@dataclass(frozen=True, eq=False)
class Inspection:
    """A result, and what it was made from."""

    result: Result
    queries: Layers
    """L2-normalized patches ``[N, D]`` a layer."""
    memory: Memory
    """What they were compared with: of a recipe that aligns to each frame, as it was for this one."""


def inspect(
    pipeline: Pipeline,
    frame: Frame,
    memory: Memory,
    thresholds: Thresholds,
) -> Inspection:
    """Compare one frame with what good parts look like.

    Args:
        pipeline: The method.
        frame: ``[H, W, 3]`` uint8, BGR.
        memory: What good parts look like.
        thresholds: Of image and map.
    """
    timings: dict[str, float] = {}
    features = pipeline.encode(frame, timings)
    clock = Clock(timings)
    mask = pipeline.find_mask(features)
    if mask is not None:
        clock.stage("mask")
    compared, notes = pipeline.memory_for(memory, frame, mask)
    if compared is not memory:
        clock.stage("align")
    queries = tuple(map(normalize, features.layers))
    distances = pipeline.compare(queries, mask, compared)
    clock.stage("search")
    frame_hw = (frame.shape[0], frame.shape[1])
    result = make_result(pipeline, frame_hw, distances, mask, thresholds, clock, notes)
    return Inspection(result, queries, compared)


def make_result(
    pipeline: Pipeline,
    frame_hw: tuple[int, int],
    distances: PatchDistances,
    mask: Mask | None,
    thresholds: Thresholds,
    clock: Clock,
    notes: tuple[str, ...] = (),
) -> Result:
    """Score, verdict and, for later, what the map is made from.

    Args:
        pipeline: The method.
        frame_hw: Size of the frame (height, width).
        distances: Of its patches, masked.
        mask: The mask they were masked by.
        thresholds: Of image and map.
        clock: Told of the stage ``score``.
        notes: What a person should know of this frame.
    """
    score = pipeline.score(distances)
    clock.stage("score")
    distances.for_map.flags.writeable = False  # the map is made from it later
    return Result(
        score=score,
        threshold=thresholds.threshold,
        patch_distances=distances.for_map,
        mask=mask,
        provenance=pipeline.provenance,
        notes=notes,
        pixel_threshold=thresholds.pixel_threshold,
        _make_map=functools.partial(pipeline.make_map, distances.for_map, frame_hw),
        _find_regions=functools.partial(_find_regions, thresholds.pixel_threshold),
        _timings_ms=clock.timings_ms,
    )


class Thresholds(Protocol):
    """A calibration, or what stands in for one."""

    @property
    def threshold(self) -> float:
        """Image scores above this are anomalous."""

    @property
    def pixel_threshold(self) -> float:
        """Map values above this make a region."""


class Clock:
    """Writes down how long each stage took."""

    def __init__(self, timings_ms: dict[str, float]) -> None:
        self.timings_ms = timings_ms
        self._last = time.perf_counter()

    def stage(self, name: str) -> None:
        """The stage of this name ends now, and began where the one before it ended."""
        now = time.perf_counter()
        self.timings_ms[name] = (now - self._last) * 1e3
        self._last = now


def _find_regions(
    pixel_threshold: float, anomaly_map: NDArray[np.float32], is_anomaly: bool
) -> tuple[Region, ...]:
    return find_regions(anomaly_map, pixel_threshold, at_least_one=is_anomaly)
