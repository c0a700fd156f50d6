"""Why a region stands out: its most unusual patch, and the nearest that was seen in a good picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.anomaly_map import Region
from edgead_runtime.bank import Reference
from edgead_runtime.errors import RecipeError
from edgead_runtime.images import Frame
from edgead_runtime.memory import Memory
from edgead_runtime.pipeline import Inspection, Pipeline
from edgead_runtime.recipe import Recipe
from edgead_runtime.views import View, views_of


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """A region's most unusual patch beside the good patch that is most like it."""

    region: Region
    patch: Box
    """The patch, in pixels of the frame."""
    distance: float
    """From it to the nearest good patch, in the recipe's scale."""
    reference: str
    """Name of the good picture that has that patch."""
    view: str
    """How that picture was remembered, e.g. ``turned by 45°``."""
    reference_patch: Box
    """Where the nearest patch is in that view, in its pixels."""
    reference_frame: Frame
    """The good picture in that view ``[H, W, 3]`` uint8, BGR."""


def check_explainable(recipe: Recipe) -> None:
    """Refuse what cannot be explained.

    Raises:
        RecipeError: The recipe remembers no single patches.
    """
    if recipe.head != "bank":
        raise RecipeError(
            f"recipe '{recipe.name}' keeps a subspace and no patches to show beside a defect",
            "Enrol with a recipe whose head is 'bank'.",
        )


def explain(pipeline: Pipeline, inspection: Inspection, frame: Frame, limit: int) -> tuple[Explanation, ...]:
    """Explain the strongest regions of an inspection.

    The nearest patch is sought in all views of all references, by the last of the recipe's layers. Where a
    recipe averages over layers, views or references, its distance is not just the one to that patch.

    Args:
        pipeline: The method.
        inspection: Of the frame.
        frame: ``[H, W, 3]`` uint8, BGR.
        limit: How many regions, the strongest first.

    Raises:
        RecipeError: The recipe remembers no single patches.
    """
    check_explainable(pipeline.recipe)
    frame_hw = (frame.shape[0], frame.shape[1])
    explanations = []
    for region in inspection.result.regions[:limit]:
        patch = _strongest_patch(pipeline, inspection.result.patch_distances, region, frame_hw)
        query = inspection.queries[-1][patch]
        reference, view, nearest, similarity = _nearest(query, inspection.memory)
        shown = _view(pipeline.recipe, inspection.memory, reference, view, frame_hw)
        view_frame = shown.make(reference.picture.frame)
        half = 0.5 if pipeline.recipe.distance == "half-cosine" else 1.0
        explanations.append(
            Explanation(
                region=region,
                patch=_box(pipeline, patch, frame_hw),
                distance=max(0.0, 1 - similarity) * half,
                reference=reference.picture.name,
                view=shown.name,
                reference_patch=_box(pipeline, nearest, (view_frame.shape[0], view_frame.shape[1])),
                reference_frame=view_frame,
            )
        )
    return tuple(explanations)


def _strongest_patch(
    pipeline: Pipeline, distances: NDArray[np.float32], region: Region, frame_hw: tuple[int, int]
) -> int:
    """The patch of the largest distance among those that a region of the map touches."""
    # By the map's geometry, which a recipe may have stretched over more than was seen.
    spans = []
    for extent, patches, start, length in zip(
        pipeline.map_extent(frame_hw),
        distances.shape,
        (region.y, region.x),
        (region.height, region.width),
        strict=True,
    ):
        first = min(int(start * patches / extent), patches - 1)
        spans.append(slice(first, max(first + 1, math.ceil((start + length) * patches / extent))))
    touched = np.full(distances.shape, -np.inf)
    touched[tuple(spans)] = distances[tuple(spans)]
    return int(touched.argmax())


def _nearest(query: NDArray[np.float32], memory: Memory) -> tuple[Reference, int, int, float]:
    """The reference, its view and patch that are most like a patch ``[D]``, and the cosine to it."""
    best: tuple[Reference, int, float] | None = None
    for reference in memory.references:
        if not len(reference.tokens[-1]):
            continue  # others stand for it
        similarities = reference.tokens[-1] @ query
        place = int(similarities.argmax())
        if best is None or similarities[place] > best[2]:
            best = reference, place, float(similarities[place])
    if best is None:
        raise ValueError("nothing is remembered")
    number = int(best[0].kept[-1][best[1]]) if best[0].kept else best[1]
    view, patch = divmod(number, best[0].patches)
    return best[0], view, patch, best[2]


def _view(
    recipe: Recipe, memory: Memory, reference: Reference, index: int, frame_hw: tuple[int, int]
) -> View:
    fixed_hw = frame_hw if recipe.align == "frame" else memory.references[0].frame_hw
    return views_of(recipe, reference.alignment, fixed_hw)[index]


def _box(pipeline: Pipeline, patch: int, frame_hw: tuple[int, int]) -> Box:
    """Where a patch lies in a frame of this size."""
    plan = pipeline.encoder.preprocessor.plan(frame_hw)
    row, column = divmod(patch, pipeline.encoder.manifest.grid[1])
    size = pipeline.encoder.manifest.patch_size
    tall, wide = (size * frame_hw[axis] / plan.resized[axis] for axis in (0, 1))
    return Box(
        x=int(column * wide),
        y=int(row * tall),
        width=max(1, round(wide)),
        height=max(1, round(tall)),
    )
