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

import numpy as np

from edgead_runtime.detector import Detector
from edgead_runtime.device_frames import check_host_frame
from edgead_runtime.errors import BundleError, EnrollmentError
from edgead_runtime.images import Frame
from edgead_runtime.leading import Companion, LeadingDetector
from edgead_runtime.result import Result
from edgead_runtime.tuning import StoredTuning

_ROOM = 0.999
"""A picture that decided an end of the band lies inside it."""
_TINY = float(np.finfo(np.float32).tiny)
"""Stands in for a threshold of 0, as in :attr:`Result.times_threshold`."""


@dataclass(frozen=True)
class LookThresholds:
    """The image thresholds of the two settings."""

    full: float
    small: float


@dataclass(frozen=True)
class Band:
    """What the small setting leaves in doubt, in times its threshold."""

    low: float
    """At most 1; below, a picture is good. At 0 none is without a second look."""
    high: float
    """At least 1; above, it is anomalous."""

    def is_clear(self, times_threshold: float) -> bool:
        """Whether the small look is enough. What is no number never is."""
        return times_threshold < self.low or times_threshold > self.high

    def moved(self, before: LookThresholds, now: LookThresholds) -> Band:
        """The band where the thresholds have changed, so that it promises no less of what made it.

        The pictures that decided an end are not kept, only the end. It is therefore moved as if each kind of
        them had: a good picture (whose ratio of scores counts, so both thresholds do) and a defect (whose
        small score counts alone), whichever widens the band more. A full threshold that has gone down makes
        defects of pictures that nobody has looked at for the band: then nothing passes with one look.

        Args:
            before: Where the band is from.
            now: Those to judge by.
        """
        if before == now:
            return self
        small = max(before.small, _TINY) / max(now.small, _TINY)
        both = small * max(now.full, _TINY) / max(before.full, _TINY)
        low = 0.0 if now.full < before.full else min(1.0, self.low * min(small, both))
        return Band(low, max(1.0, self.high * max(small, both)))


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
        EnrollmentError: There are fewer than two good pictures or one that scores 0; or a defect that the
            full setting finds scores 0 in the small one, so that no band could hold it.
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
    if found and min(found) <= 0:
        raise EnrollmentError(
            "the small look is blind to a defect that the full setting finds",
            "Use a larger encoder to look first, or the full setting alone.",
        )
    low = min([low, *(_ROOM * small for small in found)])
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
        self,
        full: Detector,
        small: Companion,
        band: Band,
        tuning: StoredTuning | None = None,
        thresholds: LookThresholds | None = None,
    ) -> None:
        """Put the two together.

        Args:
            full: The full setting.
            small: The one that looks first.
            band: Where it is not trusted.
            tuning: What goes into the file with it.
            thresholds: Those that the band is from; ``None``: those that the two have now.
        """
        scales = {small.fingerprint: (small.scale, small.map_scale)}
        super().__init__(full, [small.detector], scales, tuning)
        self._small = small.detector
        self._band_as_tuned = band
        self._thresholds_as_tuned = thresholds or LookThresholds(self.threshold, self._small.threshold)

    @property
    def band(self) -> Band:
        """Where the small setting is not trusted, at the thresholds that there are now."""
        return self._band_at(self._small.threshold)

    def _band_at(self, small_threshold: float) -> Band:
        now = LookThresholds(self.threshold, small_threshold)
        return self._band_as_tuned.moved(self._thresholds_as_tuned, now)

    def __call__(self, frame: Frame) -> Result:
        """Inspect one frame; see :meth:`Detector.__call__`."""
        check_host_frame(
            frame,
            "a cascade looks at it in two sizes, to which it is resized on the host",
            "load the detector without the cascade",
        )
        self.check_frame_size(frame)
        start = time.perf_counter()
        notes: tuple[str, ...] = ()
        try:
            first = self._small(frame)
        except BundleError as error:  # its features are no numbers
            notes = (f"The first look failed, so the full setting looked alone: {error.problem}.",)
        else:
            if self._band_at(first.threshold).is_clear(first.times_threshold):
                return first
        took = (time.perf_counter() - start) * 1e3
        second = super().__call__(frame)
        return replace(
            second, notes=(*second.notes, *notes), _timings_ms={"first look": took, **second.timings_ms}
        )
