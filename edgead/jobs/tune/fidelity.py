"""How far a setting is from the full one: distance maps, scores and verdicts on the same pictures.

The pictures are the good ones, each looked at with a bank that it is not in, and copies of them with drawn
defects. The defects say how alike two settings see, not how many real defects either would find.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from edgead_runtime import Detector, Result
from edgead_runtime.agreement import rank_correlation
from edgead_runtime.enrollment import Progress, left_out_together, with_all_patches
from edgead_runtime.images import Frame
from edgead_runtime.memory import Memory

from edgead.selection.synthetic import KINDS, GoodPart, make_defects
from edgead.selection.trials import inspected_pixels

MOST_PICTURES = 16
"""Good pictures that are looked at; more would take minutes and say little."""
_DEFECTS = 32
_SEED = 0


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture that every setting looks at."""

    frame: Frame
    reference: int
    """Which good picture it is, or was drawn on; left out of the bank where there are others."""
    is_defective: bool


@dataclass(frozen=True)
class Fidelity:
    """Agreement with the full setting; 1 is the same."""

    map_rank: float
    """Spearman correlation of the patch distances, mean over the pictures."""
    map_rank_worst: float
    score_rank: float
    """Spearman correlation of the image scores, in times the threshold."""
    same_verdict: float
    """Share of the pictures."""


def draw_scenes(detector: Detector) -> list[Scene]:
    """The good pictures, and defects on them, the kinds in turn.

    Where there is one good picture alone it is in the bank and scores 0, so only its defects are looked at.
    """
    references = detector.references[:MOST_PICTURES]
    parts = [
        GoodPart(reference.picture.frame, inspected_pixels(detector.encoder, reference))
        for reference in references
    ]
    each = max(len(KINDS), math.ceil(_DEFECTS / len(parts) / len(KINDS)) * len(KINDS))
    scenes = [Scene(part.frame, index, False) for index, part in enumerate(parts)] if len(parts) > 1 else []
    for index, part in enumerate(parts):
        drawn = make_defects(part, parts, each, _SEED + index)
        scenes += [Scene(defect.frame, index, True) for defect in drawn]
    return scenes


def look(detector: Detector, scenes: Sequence[Scene], stage: str, progress: Progress) -> list[Result]:
    """What a setting says of every scene, without the picture itself in the bank.

    Args:
        detector: The setting.
        scenes: The pictures.
        stage: What progress calls it.
        progress: Told after each picture, and of the stages of encoding again where there is a coreset.
    """
    without = _banks_without(detector, progress)
    folds: dict[int, Detector] = {}
    results: list[Result] = []
    for scene in sorted(scenes, key=lambda scene: scene.reference):
        group, bank = without[scene.reference]
        if group not in folds:
            folds.clear()  # a fold may hold a copy of the bank
            folds[group] = Detector(detector._pipeline, bank(), detector.calibration, any_size=True)
        results.append(folds[group](scene.frame))
        progress(stage, len(results), len(scenes))
    places = sorted(range(len(scenes)), key=lambda place: scenes[place].reference)
    found = dict(zip(places, results, strict=True))
    return [found[place] for place in range(len(scenes))]


def _banks_without(detector: Detector, progress: Progress) -> list[tuple[int, Callable[[], Memory]]]:
    """For each good picture what is known without it, made when it is asked for, and a number for that.

    A coreset is chosen anew from the others, as where the threshold comes from; a few pictures are left out
    together then.
    """
    memory = detector._state.memory
    count = len(memory.references)
    if count == 1:
        return [(0, lambda: memory)]
    whole = with_all_patches(detector._pipeline, memory, progress)

    def bank(group: range) -> Memory:
        rest = whole.of([one for index, one in enumerate(whole.references) if index not in group])
        return rest.condensed_like(memory)

    return [
        (number, functools.partial(bank, group))
        for number, group in enumerate(left_out_together(count, memory.recipe))
        for _ in group
    ]


def compare(full: Sequence[Result], other: Sequence[Result]) -> Fidelity:
    """How a setting agrees with the full one on the same scenes."""
    return agreement(
        [map_rank(one, two) for one, two in zip(full, other, strict=True)],
        [result.times_threshold for result in full],
        [result.times_threshold for result in other],
    )


def agreement(maps: Sequence[float], full: Sequence[float], other: Sequence[float]) -> Fidelity:
    """The figures of merit.

    Args:
        maps: Rank correlation of each picture's distances.
        full: Score of each picture in times the threshold, by the full setting.
        other: The same by the other.
    """
    same = [(one > 1) == (two > 1) for one, two in zip(full, other, strict=True)]
    return Fidelity(
        map_rank=float(np.mean(maps)),
        map_rank_worst=float(np.min(maps)),
        score_rank=rank_correlation(np.asarray(full), np.asarray(other)),
        same_verdict=float(np.mean(same)),
    )


def map_rank(full: Result, other: Result) -> float:
    """Spearman correlation of two results' patch distances, on the full setting's grid and in its mask."""
    one, two = full.patch_distances, other.patch_distances
    if one.shape != two.shape:
        size = one.shape[1], one.shape[0]
        two = np.asarray(cv2.resize(two, size, interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    inside = full.mask if full.mask is not None else np.ones(one.shape, dtype=np.bool_)
    return rank_correlation(one[inside], two[inside])
