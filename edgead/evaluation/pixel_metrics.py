"""Metrics over the pixels of anomaly maps, exact, in memory that does not grow with the good pixels.

A category of MVTec-AD has 170 million pixels, few of them defective. Every metric here changes its course
only at scores that a defective pixel has, so two passes suffice: the first collects the scores of the
defective pixels, the second counts, picture by picture, how many good pixels lie at or above each of them.
Nothing is binned or sampled; the result is that of sorting all pixels at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.evaluation.metrics import EvaluationError, average_precision_of_counts, f1_max_of_counts

PRO_LIMIT = 0.3
"""False-positive rate up to which PRO is integrated, unless told otherwise; the papers' value."""

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


class MappedPicture(Protocol):
    """One picture's map and truth; both may be made anew on each call, and each is called twice."""

    def anomaly_map(self) -> Map:
        """``[H, W]`` float32; higher is more anomalous."""

    def defective(self) -> Mask:
        """``[H, W]``; true where the part is defective."""


@dataclass(frozen=True)
class Curve:
    """A curve over the false-positive rate, both rising."""

    fpr: NDArray[np.float64]
    value: NDArray[np.float64]

    def sampled(self, points: int = 120) -> list[tuple[float, float]]:
        """At most ``points`` places on it, denser near 0, for drawing."""
        places = np.linspace(0, 1, points) ** 2
        return list(zip(places.tolist(), np.interp(places, self.fpr, self.value).tolist(), strict=True))


@dataclass(frozen=True)
class PixelMetrics:
    """What the maps of a test set are worth."""

    auroc: float
    average_precision: float
    f1_max: float
    pro: float
    """Area under the per-region overlap up to ``pro_limit``, divided by it."""
    pro_limit: float
    regions: int
    """Connected defective areas, 8-neighbourhood."""
    roc: Curve
    overlap: Curve
    """Mean covered share of the regions."""


@dataclass(frozen=True)
class _Defects:
    """The defective pixels of all pictures."""

    scores: NDArray[np.float32]
    """Distinct scores, rising ``[S]``."""
    pixels: NDArray[np.int64]
    """How many defective pixels have each."""
    coverage: NDArray[np.float64]
    """Mean over the regions of the share of the region that has each score; sums to 1."""
    regions: int


def pixel_metrics(pictures: Sequence[MappedPicture], pro_limit: float = PRO_LIMIT) -> PixelMetrics:
    """AUROC, AP, F1-max and PRO over all pixels of all pictures.

    Regions are 8-connected. PRO's false-positive rate is over the pixels outside regions of *all* pictures,
    good ones included; the overlap is the mean over regions. Pixels of equal score are one threshold, the
    curve starts at (0, 0), ends at (1, 1) and is integrated by the trapezoid rule up to the limit, with
    interpolation there. AUROC, AP and F1-max agree with scikit-learn's.

    Args:
        pictures: All pictures of the test set, good ones included. Each map is made twice.
        pro_limit: In (0, 1].

    Raises:
        EvaluationError: A map and its mask differ in size, a map holds something that is not a number,
            no pixel is defective or every pixel is, or the limit is out of range.

    Source: Bergmann et al. 2021 (PRO); AnomalyDINO, section 4.
    """
    if not 0 < pro_limit <= 1:
        raise EvaluationError(f"PRO limit {pro_limit} is not in (0, 1]", "The papers have 0.3.")
    defects = _collect_defects(pictures)
    above, equal, good = _count_good(pictures, defects.scores)
    if good == 0:
        raise EvaluationError("every pixel is defective", "Give at least one picture with good pixels.")

    # From here on the highest score comes first: thresholds fall.
    pixels, above, equal = defects.pixels[::-1], above[::-1], equal[::-1]
    found = np.cumsum(pixels)
    false = above + equal
    positives = int(found[-1])
    beaten = (good - false) + equal / 2
    # Between two defective scores only good pixels are added, so the curve runs level there: from the
    # overlap that was reached to the place just before the next defective score, and up to its point.
    steps = np.stack([above, false], axis=1).ravel() / good
    fpr = np.concatenate([[0.0], steps, [1.0]])
    return PixelMetrics(
        auroc=float((pixels * beaten).sum() / (positives * float(good))),
        average_precision=average_precision_of_counts(found, found + false, positives),
        f1_max=f1_max_of_counts(found, found + false, positives),
        pro=_area(fpr, _stairs(np.cumsum(defects.coverage[::-1])), pro_limit) / pro_limit,
        pro_limit=pro_limit,
        regions=defects.regions,
        roc=Curve(fpr, _stairs(found / positives)),
        overlap=Curve(fpr, _stairs(np.cumsum(defects.coverage[::-1]))),
    )


def _collect_defects(pictures: Iterable[MappedPicture]) -> _Defects:
    regions: list[NDArray[np.float32]] = []
    for picture in pictures:
        truth = picture.defective()
        if truth.any():
            regions.extend(_region_scores(_checked_map(picture, truth), truth))
    if not regions:
        raise EvaluationError(
            "no pixel is marked as defective, so pixel metrics are not defined",
            "Give at least one defective picture with a mask.",
        )
    scores, pixels = np.unique(np.concatenate(regions), return_counts=True)
    coverage = np.zeros(len(scores))
    for region in regions:
        own, counts = np.unique(region, return_counts=True)
        coverage[np.searchsorted(scores, own)] += counts / (region.size * len(regions))
    return _Defects(scores, pixels.astype(np.int64), coverage, len(regions))


def _region_scores(anomaly_map: Map, truth: Mask) -> list[NDArray[np.float32]]:
    """The scores inside each region; only its bounding box is looked at."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
    found = []
    for label in range(1, count):
        x, y, width, height = (int(value) for value in stats[label][:4])
        window = (slice(y, y + height), slice(x, x + width))
        found.append(anomaly_map[window][labels[window] == label])
    return found


def _count_good(
    pictures: Iterable[MappedPicture], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Good pixels above each of ``scores`` (rising), equal to each, and in all."""
    # Slot i counts good pixels with i of the scores at or below them.
    slots = np.zeros(len(scores) + 1, dtype=np.int64)
    equal = np.zeros(len(scores), dtype=np.int64)
    total = 0
    for picture in pictures:
        truth = picture.defective()
        good = np.sort(_checked_map(picture, truth)[~truth])
        total += good.size
        if good.size > len(scores):
            # Places of the few scores among the many pixels.
            first, past = np.searchsorted(good, scores), np.searchsorted(good, scores, side="right")
            slots += np.diff(first, prepend=0, append=good.size)
            equal += past - first
        else:
            place = np.searchsorted(scores, good, side="right")
            slots += np.bincount(place, minlength=len(slots))
            met = place[(place > 0) & (scores[place - 1] == good)] - 1
            equal += np.bincount(met, minlength=len(equal))
    at_or_above = np.cumsum(slots[::-1])[::-1][1:]
    return at_or_above - equal, equal, total


def _checked_map(picture: MappedPicture, truth: Mask) -> Map:
    anomaly_map = np.asarray(picture.anomaly_map(), dtype=np.float32)
    if anomaly_map.shape != truth.shape:
        raise EvaluationError(
            f"a map of {_size(anomaly_map)} does not match a mask of {_size(truth)}",
            "Give masks of the size of their pictures.",
        )
    if np.isnan(anomaly_map).any():
        raise EvaluationError("an anomaly map holds a value that is not a number", "Check the encoder.")
    return anomaly_map


def _size(array: NDArray[np.generic]) -> str:
    return " x ".join(str(side) for side in reversed(array.shape))


def _stairs(reached: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values before and at each threshold, between the curve's two ends."""
    before = np.concatenate([[0.0], reached[:-1]])
    return np.concatenate([[0.0], np.stack([before, reached], axis=1).ravel(), [1.0]])


def _area(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Trapezoid rule from 0 to ``limit``; the segment that crosses it is cut there."""
    inside = x <= limit
    cut = np.flatnonzero(~inside)[:1]
    x_kept, y_kept = x[inside], y[inside]
    if cut.size:
        last = int(cut[0])
        share = (limit - x[last - 1]) / (x[last] - x[last - 1])
        x_kept = np.append(x_kept, limit)
        y_kept = np.append(y_kept, y[last - 1] + share * (y[last] - y[last - 1]))
    return float(((x_kept[1:] - x_kept[:-1]) * (y_kept[1:] + y_kept[:-1]) / 2).sum())
