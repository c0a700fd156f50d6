"""Quantiles of the last so many values."""

from __future__ import annotations

import bisect
from collections import deque


class RecentQuantiles:
    """Exact quantiles of a sliding window, in bounded memory: the values in their order, and sorted.

    Exact, and so the same for the same frames, which no sketch would be; at the sizes of a drift window a
    sorted list (an insertion moves some hundred pointers) is also faster than any. Not thread-safe.

    Args:
        size: Values in the window.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._order)

    @property
    def full(self) -> bool:
        """Whether the window holds as many values as it can."""
        return len(self._order) == self._size

    def add(self, value: float) -> None:
        """Take in a finite value; the oldest goes where the window is full."""
        if self.full:
            oldest = self._order.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, oldest)]
        self._order.append(value)
        bisect.insort(self._sorted, value)

    def quantile(self, share: float) -> float:
        """Interpolated between neighbours, as ``numpy.quantile`` does.

        Args:
            share: 0 to 1.

        Raises:
            ValueError: There is no value yet.
        """
        if not self._sorted:
            raise ValueError("no value yet")
        place = share * (len(self._sorted) - 1)
        below = int(place)
        above = min(below + 1, len(self._sorted) - 1)
        return self._sorted[below] + (place - below) * (self._sorted[above] - self._sorted[below])

    @property
    def median(self) -> float:
        """The middle one."""
        return self.quantile(0.5)
