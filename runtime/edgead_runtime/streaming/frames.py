"""A frame on its way through the loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from edgead_runtime.errors import EdgeadError
from edgead_runtime.images import Frame


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One frame as it was captured, or the reason why there is none."""

    image: Frame | None = field(repr=False)
    """``[H, W, 3]`` uint8, BGR, after the crop; ``None`` where the source gave something unusable."""
    sequence: int
    """Counts what the source gave since the stream began, from 0, including what was dropped."""
    captured_s: float
    """Monotonic seconds at which the source handed it over; for durations."""
    captured_at: datetime
    """The same moment by the wall clock, UTC; for people."""
    name: str = ""
    """The file's name, or what a trigger was labelled with."""
    problem: EdgeadError | None = None
    """Why there is no image."""
    frozen: bool = False
    """The camera has been giving this same picture for longer than it should."""
