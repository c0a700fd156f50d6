"""Curves over the false-positive rate as shapes, ready to be drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgead.report.histogram import Tick

WIDTH = 340
HEIGHT = 250
_LEFT = 38
_RIGHT = 10
_TOP = 12
_BOTTOM = 40
_PLACES = 161

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class CurveLine:
    """One line: its points in SVG units, and which of the chart's colours it has."""

    label: str
    points: str
    color: int


@dataclass(frozen=True)
class CurveChart:
    """A chart with lines from the bottom left to the top right."""

    title: str
    x_title: str
    lines: tuple[CurveLine, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    baseline: float = HEIGHT - _BOTTOM


def make_chart(
    title: str, x_title: str, curves: Mapping[str, Sequence[Points]], x_limit: float = 1.0
) -> CurveChart:
    """Draw one line a label: the mean of its curves at each place.

    Args:
        title: What the height is.
        x_title: What the width is.
        curves: Curves of each label (one a seed), as rising (x, y) from (0, 0) to (1, 1).
        x_limit: Where the x axis ends.
    """
    places = x_limit * np.linspace(0, 1, _PLACES) ** 2
    x_scale = (WIDTH - _LEFT - _RIGHT) / x_limit
    y_scale = HEIGHT - _TOP - _BOTTOM
    lines = []
    for color, (label, members) in enumerate(curves.items()):
        if not members:
            continue
        heights = np.mean([_at(places, curve) for curve in members], axis=0)
        points = [f"{_LEFT:.1f},{HEIGHT - _BOTTOM:.1f}"] + [
            f"{_LEFT + x * x_scale:.1f},{HEIGHT - _BOTTOM - y * y_scale:.1f}"
            for x, y in zip(places.tolist(), heights.tolist(), strict=True)
        ]
        lines.append(CurveLine(label, " ".join(points), color))
    steps = [x_limit * share for share in (0, 0.5, 1)]
    return CurveChart(
        title=title,
        x_title=x_title,
        lines=tuple(lines),
        x_ticks=tuple(Tick(_LEFT + x * x_scale, f"{x:g}") for x in steps),
        y_ticks=tuple(Tick(HEIGHT - _BOTTOM - y * y_scale, f"{y:g}") for y in (0, 0.5, 1)),
    )


def _at(places: np.ndarray[tuple[int, ...], np.dtype[np.float64]], curve: Points) -> list[float]:
    """Heights of a curve; where it rises straight up, the upper end."""
    x, y = (np.array(axis) for axis in zip(*curve, strict=True))
    last_of_equal = np.append(np.diff(x) > 0, True)
    heights: list[float] = np.interp(places, x[last_of_equal], y[last_of_equal]).tolist()
    return heights
