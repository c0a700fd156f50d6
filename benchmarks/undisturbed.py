"""Measuring again what a virtual machine's host disturbed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from edgead.jobs.bench.remarks import MUCH_STOLEN
from edgead.jobs.bench.stolen import StolenTime

TRIES = 5
"""How often a turn is taken; the least disturbed counts."""

_Measured = TypeVar("_Measured")


def least_disturbed(measure: Callable[[], _Measured]) -> tuple[float, _Measured]:
    """Measure until the host took next to nothing meanwhile, :data:`TRIES` times at most.

    Args:
        measure: A turn, long enough for the kernel's clock of a hundredth of a second.

    Returns:
        The share of the cores' time that the host took from the least disturbed turn (0 where the kernel does
        not tell), and what was measured in it.
    """
    tried: list[tuple[float, _Measured]] = []
    while len(tried) < TRIES:
        clock = StolenTime()
        measured = measure()
        tried.append((clock.share() or 0.0, measured))
        if tried[-1][0] <= MUCH_STOLEN:
            break
    return min(tried, key=lambda turn: turn[0])
