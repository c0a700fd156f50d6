"""An alert's reason, in a sentence that a person reads."""

from __future__ import annotations

from datetime import datetime

from edgead_runtime.streaming.drift.baseline import Range

_LEAST_SHIFT = 0.005
_SMALLER_PART = 0.2
"""Of the larger part of a shift: what is less is not told."""

NAMES = {
    "brightness": "brightness",
    "sharpness": "sharpness",
    "mask_area": "the size of parts",
    "score": "the score of good parts",
    "patch_distance": "the patch distance of good parts",
    "position": "the camera's position",
}


def why(measure: str, since: datetime, now: float, enrolled: Range) -> str:
    """What drifted, by how much, since when.

    Args:
        measure: Any but ``position``.
        since: When it began; told in the machine's time zone.
        now: Median of the last frames.
        enrolled: What the good pictures had.
    """
    clock = _clock(since)
    before = enrolled.median
    ratio = now / before if before > 0 else float("inf")
    if measure == "brightness":
        change = f"{'darker' if ratio < 1 else 'brighter'} by {_percent(ratio - 1)} since {clock}"
        return f"{change}: mean grey level {now:.0f}, at enrolment {before:.0f}"
    if measure == "sharpness":
        if ratio < 1:
            return f"out of focus since {clock}: sharpness fell to {_percent(ratio)} of enrolment"
        return f"more noise or finer detail since {clock}: sharpness is {_percent(ratio)} of enrolment"
    if measure == "mask_area":
        change = f"parts cover {_percent(ratio - 1)} {'less' if ratio < 1 else 'more'} of the picture"
        return f"{change} since {clock}: {now:.1%} of it, at enrolment {before:.1%}"
    if measure == "score":
        change = f"good parts score {_percent(ratio - 1)} higher than at enrolment"
    else:
        change = f"good parts are {_percent(ratio - 1)} further from the good pictures than at enrolment"
    return f"{change} since {clock}: median {now:.4g}, then {before:.4g}"


def why_moved(since: datetime, shift: tuple[float, float]) -> str:
    """How the picture has shifted.

    Args:
        since: When it was first seen.
        shift: To the right and down, as shares of width and height.
    """
    right, down = shift
    told = {
        f"{_tenths(right)} of its width to the {'right' if right > 0 else 'left'}": abs(right),
        f"{_tenths(down)} of its height {'down' if down > 0 else 'up'}": abs(down),
    }
    worth = max(_LEAST_SHIFT, _SMALLER_PART * max(told.values()))
    parts = " and ".join(text for text, share in told.items() if share >= worth)
    return f"the camera moved, or what holds the part: since {_clock(since)} the picture lies {parts}"


def _percent(share: float) -> str:
    return f"{abs(share):.0%}"


def _tenths(share: float) -> str:
    return f"{abs(share):.1%}"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M}"
