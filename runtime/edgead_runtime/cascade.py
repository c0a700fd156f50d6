"""A small look first, and the full one where that leaves a doubt.

Most parts on a line are good and clearly so. A small encoder says so in a fraction of the time, and only what
it finds near its threshold is looked at by the full setting. That makes the *usual* frame faster and the
machine cooler. It makes the worst frame slower, since that takes both looks: no budget that the full setting
misses at p99 is held by a cascade.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgead_runtime.detector import Detector
from edgead_runtime.errors import EnrollmentError
from edgead_runtime.images import Frame, check_frame
from edgead_runtime.leading import Companion, LeadingDetector
from edgead_runtime.result import Result
from edgead_runtime.tuning import StoredTuning

_ROOM = 0.999
"""A picture that decided an end of the band lies inside it."""


@dataclass(frozen=True)
class Band:
    """What the small setting leaves in doubt, in times its threshold."""

    low: float
    """At most 1; below, a picture is good."""
    high: float
    """At least 1; above, it is anomalous."""

    def is_clear(self, times_threshold: float) -> bool:
        """Whether the small look is enough. What is no number never is."""
        return times_threshold < self.low or times_threshold > self.high


def band_from(good: Sequence[tuple[float, float]], defective: Sequence[tuple[float, float]] = ()) -> Band:
    """The band in which the small setting is not trusted.

    The rule: take, over the good pictures, how many times the full setting's score (in times its threshold)
    is the small one's, at most and at least. A picture is passed only if even the largest of these would
    leave the full score below its threshold, and called anomalous only if even the smallest would leave it
    above. A further *good* picture goes beyond what ``n`` have shown with a probability of at most
    1 / (n + 1) at each end, as for thresholds (see :mod:`edgead_runtime.calibration`).

    Nothing in that speaks of defects: one that the small setting cannot see at all may score as low as any
    good part. So the band is widened until it holds every one of ``defective`` that the full setting finds.
    What remains is a risk, which ``edgead tune`` measures on defects that had no part in this.

    Args:
        good: Scores of each good picture, left out of its bank, in times the threshold: (small, full).
        defective: The same of pictures with drawn or known defects.

    Raises:
        EnrollmentError: There are fewer than two good pictures, or one that scores 0.
    """
    if len(good) < 2:
        raise EnrollmentError(
            "a cascade needs two good pictures to see how far its two settings disagree",
            "Add another good picture.",
        )
    if min(min(pair) for pair in good) <= 0:
        raise EnrollmentError("a good picture scores 0", "Remove copies from the good pictures.")
    ratios = [small / full for small, full in good]
    low, high = min(1.0, *ratios), max(1.0, *ratios)
    found = [small for small, full in defective if full > 1]
    low = min([low, *(_ROOM * small for small in found if small > 0)])
    passed = [small for small, full in (*good, *defective) if full <= 1]
    high = max([high, *(small / _ROOM for small in passed)])
    return Band(low, high)


class CascadeDetector(LeadingDetector):
    """A detector that answers with a small encoder where that is enough.

    A result is that of whichever looked last: its provenance, score and threshold are of that setting, so
    scores are to be compared by :attr:`Result.times_threshold`. Where both looked, ``timings_ms`` has the
    first look as one stage.
    """

    def __init__(
        self, full: Detector, small: Companion, band: Band, tuning: StoredTuning | None = None
    ) -> None:
        """Put the two together.

        Args:
            full: The full setting.
            small: The one that looks first.
            band: Where it is not trusted.
            tuning: What goes into the file with it.
        """
        scales = {small.fingerprint: (small.scale, small.map_scale)}
        super().__init__(full, [small.detector], scales, tuning)
        self._small = small.detector
        self.band = band

    def __call__(self, frame: Frame) -> Result:
        """Inspect one frame; see :meth:`Detector.__call__`."""
        check_frame(frame)
        self.check_frame_size(frame)
        start = time.perf_counter()
        first = self._small(frame)
        if self.band.is_clear(first.times_threshold):
            return first
        took = (time.perf_counter() - start) * 1e3
        second = super().__call__(frame)
        return replace(second, _timings_ms={"first look": took, **second.timings_ms})
