"""Two clocks: one that only goes forward, for durations, and the wall's, for stamps that people read.

No decision, timeout or order depends on the wall clock, which jumps when a device finds its time server.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """What the loop asks for the time; tests give their own."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def now(self) -> datetime:
        """The wall's time in UTC; may jump."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()

    def now(self) -> datetime:
        """The wall's time in UTC; may jump."""
        return datetime.now(timezone.utc)


SYSTEM_CLOCK = SystemClock()


def stamp(moment: datetime) -> str:
    """``2026-06-01T12:30:00.125Z``: ISO 8601 in UTC, milliseconds."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
