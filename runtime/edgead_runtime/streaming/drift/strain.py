"""How far a measure is from enrolment, in units of its limit: above 1 is drift.

The good pictures of an enrolment vary, and so may frames: what counts is how far the median of the last
frames lies *beyond* what they had. That also holds while one part lies still under the camera, which is one
good part and not many. What varied much at enrolment can therefore drift as much unnoticed.
"""

from __future__ import annotations

from edgead_runtime.streaming.drift.baseline import Range
from edgead_runtime.streaming.drift.recent import RecentQuantiles

_LEAST_SPREAD = 0.25
_FLOORS = {"brightness": 2.0, "mask_area": 0.01}
"""Below so much (grey levels, share of the frame) a ratio says nothing: of a black frame, or a tiny part."""


def of_range(measure: str, now: float, enrolled: Range, limit: float) -> float:
    """Of a measure that may go either way.

    Args:
        measure: Its name.
        now: Median of the last frames.
        enrolled: What the good pictures had.
        limit: Share beyond their 5 and 95 % quantiles that is too much. Widened where they are few: by
            ``1 + 1 / n ** 2``, which is twice for a single one.

    Returns:
        0 inside the range, 1 at the limit.
    """
    floor = _FLOORS.get(measure, 0.0)
    allowed = limit * (1 + 1 / enrolled.count**2)
    if now < enrolled.low - floor:
        return (1 - now / enrolled.low) / allowed
    if now > enrolled.high + floor:
        return (1 - enrolled.high / now) / allowed
    return 0.0


def of_scores(recent: RecentQuantiles, enrolled: Range, limit: float) -> float | None:
    """Of a measure that may only grow, by good parts against good pictures that were left out of their bank.

    Args:
        recent: Of the last frames that were judged normal.
        enrolled: What the good pictures had.
        limit: Share above their median that is too much.

    Returns:
        0 within three quarters of the good pictures, 1 at the limit. ``None`` where the last frames vary less
        than a quarter as much as the good pictures did: they show one part at rest, and one good part may
        well score higher than most.
    """
    lower, upper = enrolled.quarters
    if recent.quantile(0.75) - recent.quantile(0.25) < _LEAST_SPREAD * (upper - lower):
        return None
    now = recent.median
    if now <= upper or enrolled.median <= 0:
        return 0.0
    return (now / enrolled.median - 1) / limit


def of_shift(shift: tuple[float, float], limit: float) -> float:
    """Of a shift of the picture, by its larger part.

    Args:
        shift: As shares of width and height.
        limit: Share that is too much.
    """
    return max(abs(shift[0]), abs(shift[1])) / limit
