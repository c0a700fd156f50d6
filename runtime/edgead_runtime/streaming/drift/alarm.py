"""When an alert opens and closes: hysteresis, and what lasts."""

from __future__ import annotations

from typing import Literal

Turn = Literal["opened", "closed"]


class Alarm:
    """One alert. Pure: told of times and strains, it looks at no clock.

    It opens once the strain was above 1 for ``for_s`` without a break, and closes once it was at most
    ``close_ratio`` for as long. What is not known counts for neither.

    Args:
        for_s: Seconds.
        close_ratio: Share of the limit.
    """

    def __init__(self, for_s: float, close_ratio: float) -> None:
        self._for_s, self._close_ratio = for_s, close_ratio
        self.is_open = False
        self.since_s: float | None = None
        """When what opened it, or would, began."""
        self._calm_since_s: float | None = None

    def observe(self, at_s: float, strain: float | None) -> Turn | None:
        """Take in a strain.

        Args:
            at_s: By a clock that never jumps.
            strain: In units of the limit; ``None``: not known.

        Returns:
            What became of the alert with it.
        """
        if strain is None:
            return None
        if self.is_open:
            return self._while_open(at_s, strain)
        if strain <= 1:
            self.since_s = None
            return None
        if self.since_s is None:
            self.since_s = at_s
        if at_s - self.since_s < self._for_s:
            return None
        self.is_open, self._calm_since_s = True, None
        return "opened"

    def _while_open(self, at_s: float, strain: float) -> Turn | None:
        if strain > self._close_ratio:
            self._calm_since_s = None
            return None
        if self._calm_since_s is None:
            self._calm_since_s = at_s
        if at_s - self._calm_since_s < self._for_s:
            return None
        self.is_open, self.since_s = False, None
        return "closed"
