"""From times and fidelity to a choice, and to the settings that a controller may go through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_STORED = 4
"""Settings that are loaded at run time: each takes memory for its encoder and bank."""
_WORTH_A_STEP = 1.2
"""A setting in between that is no more than this much faster is not worth its memory."""
_SAME = 0.002
"""Difference in rank correlation that is not worth a millisecond."""


@dataclass(frozen=True)
class Point:
    """What a setting is chosen by."""

    p99_ms: float
    map_rank: float


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Those that no other beats in one of the two without losing in the other, the slowest first."""
    front = []
    for index, point in enumerate(points):
        beaten = any(
            other.p99_ms <= point.p99_ms
            and other.map_rank >= point.map_rank
            and (other, place) != (point, index)
            and (other != point or place < index)
            for place, other in enumerate(points)
        )
        if not beaten:
            front.append(index)
    return sorted(front, key=lambda index: -points[index].p99_ms)


def choose(points: Sequence[Point], budget_ms: float) -> tuple[int, bool]:
    """The most faithful that holds the budget at p99 and whether there is one; else the fastest.

    Of settings that are as faithful as that one, the fastest is taken.
    """
    holding = [index for index, point in enumerate(points) if point.p99_ms <= budget_ms]
    if not holding:
        return min(range(len(points)), key=lambda index: points[index].p99_ms), False
    best = max(points[index].map_rank for index in holding)
    alike = [index for index in holding if points[index].map_rank >= best - _SAME]
    return min(alike, key=lambda index: points[index].p99_ms), True


def ladder(points: Sequence[Point], chosen: int) -> list[int]:
    """What is stored, from the full setting (the first point) to the fastest: at most :data:`MOST_STORED`.

    The full one and the chosen one are always among them, then the fastest, then those in between, where a
    step would be the largest.
    """
    steps = [index for index in pareto_front(points) if points[index].p99_ms < points[0].p99_ms]
    wanted = dict.fromkeys([0, chosen, *steps[-1:]])
    between = [index for index in steps if index not in wanted]

    def step(index: int) -> float:
        """How far from those there are. In ratios: from 200 to 100 ms is as large as from 20 to 10."""
        times = [(points[index].p99_ms, points[other].p99_ms) for other in wanted]
        return min(max(pair) / max(min(pair), 1e-9) for pair in times)

    while between and len(wanted) < MOST_STORED:
        farthest = max(between, key=step)
        if step(farthest) < _WORTH_A_STEP:
            break
        wanted[farthest] = None
        between.remove(farthest)
    return sorted(wanted, key=lambda index: (index != 0, -points[index].p99_ms))
