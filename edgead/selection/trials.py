"""What a recipe is worth on the good pictures alone: each left out of the bank, without and with defects."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from edgead_runtime import Detector, Encoder, Recipe, Result
from edgead_runtime.bank import Reference
from edgead_runtime.images import Picture
from edgead_runtime.memory import Memory
from edgead_runtime.pipeline import Pipeline
from edgead_runtime.scoring import image_score
from numpy.typing import NDArray

from edgead.evaluation.metrics import image_average_precision
from edgead.selection.candidates import Candidate
from edgead.selection.synthetic import KINDS, GoodPart, SyntheticDefect, make_defects

DEFECTS = 32
"""Defects in all, where there are few pictures; at least one of each kind a picture."""
_SEED = 0
_COVERED = 0.5
"""Share of a patch that a defect covers for the patch to count as defective."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One candidate and what it came to."""

    candidate: Candidate
    recipe: Recipe
    wins: NDArray[np.float64]
    """``[defects, good pictures]``: 1 where the defect scores higher, 0 where the good picture does, else a
    half. Each was left out of the bank that it was compared with."""
    precisions: NDArray[np.float64]
    """``[defects]``: how well the patches of each picture with a defect are told apart, average precision."""
    bank_kb: float
    """What the bank takes, in thousands of bytes."""
    search_ms: float
    """Median time a frame without the encoder."""

    @property
    def image_auroc(self) -> float:
        """Good pictures against pictures with a defect."""
        return float(self.wins.mean())

    @property
    def patch_ap(self) -> float:
        """Mean over the pictures with a defect."""
        return float(self.precisions.mean())

    @property
    def separation(self) -> float:
        """What candidates are compared by: the mean of the two measures, 0 to 1."""
        return (self.image_auroc + self.patch_ap) / 2


def share_better(one: Trial, other: Trial, redraws: int = 200) -> float:
    """In what share of random redraws ``one`` separates better than ``other``: a paired bootstrap.

    Args:
        one: A trial.
        other: Another on the same pictures and defects.
        redraws: How often defects and good pictures are drawn again, with replacement.
    """
    random = np.random.default_rng(_SEED)
    defects, good = one.wins.shape
    better = 0
    for _ in range(redraws):
        rows, columns = random.integers(defects, size=defects), random.integers(good, size=good)
        gain = (one.wins - other.wins)[np.ix_(rows, columns)].mean()
        better += gain + (one.precisions - other.precisions)[rows].mean() > 0
    return better / redraws


def draw_defects(detector: Detector, good: Sequence[Picture]) -> list[tuple[SyntheticDefect, ...]]:
    """Defects for every good picture, inside what the detector inspects of it.

    Args:
        detector: Enrolled with these pictures.
        good: In its order.
    """
    each = max(len(KINDS), math.ceil(DEFECTS / len(good) / len(KINDS)) * len(KINDS))
    parts = [
        GoodPart(picture.frame, inspected_pixels(detector.encoder, reference))
        for picture, reference in zip(good, detector.references, strict=True)
    ]
    return [make_defects(part, parts, each, _SEED + index) for index, part in enumerate(parts)]


def inspected_pixels(encoder: Encoder, reference: Reference) -> NDArray[np.bool_]:
    """``[H, W]``: what of a reference the patches cover and the mask lets count."""
    mask = reference.mask if reference.mask is not None else np.ones(encoder.manifest.grid, dtype=np.bool_)
    return encoder.preprocessor.pixels_of(mask, reference.frame_hw)


@dataclass(frozen=True, eq=False)
class Looks:
    """All pictures as one way of searching sees them; scores come later."""

    recipe: Recipe
    """What they were searched and scored with."""
    masked: bool
    good: tuple[Result, ...]
    defective: tuple[Result, ...]
    """In the order of the defects."""
    inspected_hw: tuple[tuple[int, int], ...]
    """What of each of these the patches cover (height, width), from the top left."""
    bank_kb: float


def look(
    encoder: Encoder,
    good: Sequence[Picture],
    recipe: Recipe,
    defects: Sequence[Sequence[SyntheticDefect]],
) -> Looks:
    """Inspect every picture, without and with defects, by a bank that it is not in.

    Args:
        encoder: The encoder.
        good: At least two pictures.
        recipe: The method; how it makes scores does not matter yet.
        defects: Of each picture.
    """
    whole = Detector.enroll(encoder, good, recipe=recipe)
    pipeline = Pipeline(encoder, recipe, whole.mask)
    seen_good: list[Result] = []
    seen_defective: list[Result] = []
    memory = Memory(whole.references, recipe)
    for index, (picture, drawn) in enumerate(zip(good, defects, strict=True)):
        fold = Detector(pipeline, memory.without(index), whole.calibration, any_size=True)
        seen_good.append(fold(picture.frame))
        seen_defective.extend(fold(defect.frame) for defect in drawn)
    size = sum(reference.nbytes for reference in whole.references)
    covered = (
        encoder.preprocessor.plan(size_hw).inspected_hw(size_hw)
        for size_hw, drawn in zip(
            (reference.frame_hw for reference in whole.references), defects, strict=True
        )
        for _ in drawn
    )
    return Looks(
        recipe, whole.mask.enabled, tuple(seen_good), tuple(seen_defective), tuple(covered), size / 1000
    )


def try_candidate(
    candidate: Candidate, recipe: Recipe, looks: Looks, defects: Sequence[Sequence[SyntheticDefect]]
) -> Trial:
    """Measure a candidate.

    Args:
        candidate: What is tried.
        recipe: The base with its changes; makes the scores.
        looks: What it sees.
        defects: What there was to see.
    """

    def score(result: Result) -> float:
        if (recipe.statistic, recipe.top_fraction) == (looks.recipe.statistic, looks.recipe.top_fraction):
            return result.score
        return image_score(result.patch_distances, recipe.top_fraction, recipe.statistic)

    good = np.array([score(result) for result in looks.good])
    defective = np.array([score(result) for result in looks.defective])[:, None]
    drawn = [defect for of_picture in defects for defect in of_picture]
    return Trial(
        candidate=candidate,
        recipe=recipe,
        wins=(defective > good) + (defective == good) / 2,
        precisions=np.array(
            [
                image_average_precision(*patch_truth(defect.where[:height, :width], result.patch_distances))
                for defect, result, (height, width) in zip(
                    drawn, looks.defective, looks.inspected_hw, strict=True
                )
            ]
        ),
        bank_kb=looks.bank_kb,
        search_ms=statistics.median(_search_ms(result) for result in looks.defective),
    )


def patch_truth(
    where: NDArray[np.bool_], distances: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The distances of the patches that are clearly defective or clearly good, and which they are.

    A patch that the defect covers in part is neither, unless none is covered by half: then the one that is
    covered most is the defective one. Average precision over them is the pixel measure.

    Args:
        where: Pixels of the defect ``[H, W]``, of the part of the frame that the patches cover.
        distances: ``[rows, columns]``.
    """
    rows, columns = distances.shape
    share = cv2.resize(where.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    defective = share >= min(_COVERED, float(share.max()))
    counted = defective | (share == 0)
    return distances[counted], defective[counted]


def _search_ms(result: Result) -> float:
    return sum(
        time for stage, time in result.timings_ms.items() if stage not in ("preprocess", "encode", "frame")
    )
