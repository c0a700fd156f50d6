"""Whether a small look first would help this part, and what it would risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from edgead_runtime import Result
from edgead_runtime.cascade import Band, band_from
from edgead_runtime.errors import EnrollmentError

from edgead.jobs.tune.fidelity import Scene, agreement, map_rank
from edgead.jobs.tune.record import CascadeRow

_WORTH_IT = 0.95
"""Share of the full setting's time from which two looks are no gain worth a second encoder."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What a setting said of all scenes, and how long frames took it."""

    name: str
    results: Sequence[Result]
    times_ms: Sequence[float]


def try_cascade(full: Looked, small: Looked, scenes: Sequence[Scene]) -> CascadeRow | None:
    """A cascade of two settings; ``None`` where there are too few good pictures for one.

    The band comes from the good pictures and every other defect of each picture; what it misses is counted
    on the rest.

    Args:
        full: The full setting.
        small: The one that looks first.
        scenes: What they looked at.
    """
    pairs = [
        (one.times_threshold, two.times_threshold)
        for one, two in zip(small.results, full.results, strict=True)
    ]
    good = [pair for pair, scene in zip(pairs, scenes, strict=True) if not scene.is_defective]
    defects = [pair for pair, scene in zip(pairs, scenes, strict=True) if scene.is_defective]
    try:
        # Four kinds take turns: by pairs of them, so that both halves have every kind.
        band = band_from(good, [pair for place, pair in enumerate(defects) if place // 4 % 2 == 0])
    except EnrollmentError:
        return None
    untouched = [pair for place, pair in enumerate(defects) if place // 4 % 2 == 1]
    tried = [one for one, two in untouched if two > 1]
    twice_good = _share_twice(band, [one for one, _ in good])
    answered = [one if band.is_clear(one) else two for one, two in pairs]
    maps = [
        map_rank(full_result, small_result) if band.is_clear(one) else 1.0
        for (one, _), full_result, small_result in zip(pairs, full.results, small.results, strict=True)
    ]
    small_ms, full_ms = np.mean(small.times_ms), np.mean(full.times_ms)
    usual_ms = float(small_ms + twice_good * full_ms)
    both = np.asarray(small.times_ms) + np.asarray(full.times_ms)
    return CascadeRow(
        name=f"{small.name}, then {full.name}",
        low=band.low,
        high=band.high,
        good_pictures=len(good),
        second_looks_good=twice_good,
        second_looks_defective=_share_twice(band, [one for one, _ in defects]),
        tried=len(tried),
        missed=sum(one < band.low for one in tried),
        usual_ms=usual_ms,
        full_usual_ms=float(full_ms),
        worst_ms=float(np.percentile(both, 99)),
        fidelity=agreement(maps, [two for _, two in pairs], answered),
        stored=bool(usual_ms < _WORTH_IT * full_ms),
    )


def _share_twice(band: Band, scores: Sequence[float]) -> float:
    return float(np.mean([not band.is_clear(score) for score in scores])) if scores else 0.0
