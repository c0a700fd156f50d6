"""What enrolment looked like: the good pictures and their scores, as numbers to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgead_runtime.bank import Reference
from edgead_runtime.cascade import CascadeDetector
from edgead_runtime.detector import Detector
from edgead_runtime.index import EXACT
from edgead_runtime.streaming.drift.looking import look_at
from edgead_runtime.streaming.drift.position import Place

_MOST_PICTURES = 32
_FEWEST_SCORES = 4


@dataclass(frozen=True)
class Range:
    """How one measure varied between good pictures."""

    low: float
    """5 % quantile."""
    median: float
    high: float
    """95 % quantile."""
    quarters: tuple[float, float]
    """25 and 75 % quantiles."""
    count: int
    """Good pictures."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Of at least one value."""
        low, lower, median, upper, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        return cls(float(low), float(median), float(high), (float(lower), float(upper)), len(values))


@dataclass(frozen=True, eq=False)
class Baseline:
    """A detector's enrolment, measured once when the loop starts.

    It never changes: what drifts is never taken for normal.
    """

    ranges: Mapping[str, Range]
    """By measure: ``brightness``, ``sharpness``, and where known ``mask_area``, ``score``,
    ``patch_distance``."""
    place: Place | None
    unwatched: Mapping[str, str] = field(default_factory=dict)
    """Measures that cannot be compared, and why."""

    @classmethod
    def of(cls, detector: Detector) -> Baseline:
        """Measure the good pictures of a detector's enrolment.

        Parts that were added while it ran are left out. Of more than 32 pictures 32 are taken, spread over
        all.

        Args:
            detector: Its references are decoded, one at a time.

        Raises:
            PictureError: A picture in the file cannot be decoded.
        """
        enrolled = [one for one in detector.references if one.added == "enrollment"]
        unwatched: dict[str, str] = {}
        looks = [look_at(one.picture.frame) for one in _spread(enrolled)]
        values = {
            "brightness": [look.brightness for look in looks],
            "sharpness": [look.sharpness for look in looks],
            **_areas(detector, enrolled, unwatched),
            **_scores(detector, unwatched),
        }
        place, why_not = Place.of([look.small for look in looks])
        if place is None:
            unwatched["position"] = why_not
        return cls({name: Range.of(found) for name, found in values.items()}, place, unwatched)


def _spread(references: Sequence[Reference]) -> list[Reference]:
    count = min(len(references), _MOST_PICTURES)
    return [references[index * len(references) // count] for index in range(count)]


def _areas(
    detector: Detector, references: Sequence[Reference], unwatched: dict[str, str]
) -> dict[str, list[float]]:
    masks = [one.mask for one in references if one.mask is not None]
    if not masks or detector.mask.area is not None:
        unwatched["mask_area"] = "no mask is made from the frames"
        return {}
    return {"mask_area": [float(mask.mean()) for mask in masks]}


def _scores(detector: Detector, unwatched: dict[str, str]) -> dict[str, list[float]]:
    calibration = detector.calibration
    found = {"score": calibration.normal_scores, "patch_distance": calibration.normal_means}
    reason = {}
    if isinstance(detector, CascadeDetector):
        # Most frames are answered by the small encoder, and those that are not are the doubtful ones.
        reason = dict.fromkeys(found, "a cascade answers with two encoders, whose scores do not compare")
    elif detector.index.index != EXACT:
        reason["patch_distance"] = "an approximate index makes distances larger"
    kept: dict[str, list[float]] = {}
    for name, values in found.items():
        if name not in reason and len(values) < _FEWEST_SCORES:
            reason[name] = f"the file has {len(values)} of {_FEWEST_SCORES} good pictures that it takes"
        if name in reason:
            unwatched[name] = reason[name]
        else:
            kept[name] = list(values)
    return kept
