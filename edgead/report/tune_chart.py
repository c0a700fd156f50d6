"""Settings by latency and fidelity, as a picture: which are worth having, and which hold the budget."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from edgead.report.canvas import make_canvas
from edgead.report.plot_area import SERIES, TICK_SIZE, PlotArea, round_ticks
from edgead.report.sheet_style import INK, SOFT, STANDS_OUT

WIDTH = 980
_LEFT, _RIGHT = 64, 900
_LINE = 19
_HEIGHT = 380
_LABEL_HEIGHT = 16


@dataclass(frozen=True)
class TunedPoint:
    """A setting."""

    name: str
    p50_ms: float
    p99_ms: float
    map_rank: float
    on_front: bool
    is_chosen: bool


def draw_tune(
    headline: str, lines: Sequence[str], points: Sequence[TunedPoint], budget_ms: float, suffix: str
) -> bytes:
    """Draw the picture.

    Args:
        headline: The one sentence to remember.
        lines: Smaller sentences under it.
        points: The settings.
        budget_ms: Drawn as a line.
        suffix: ``.png`` or ``.svg``.
    """
    text = [part for line in lines for part in textwrap.wrap(line, 125)]
    top = 60 + _LINE * len(text) + 46
    canvas = make_canvas(suffix, WIDTH, int(top + _HEIGHT + 60))
    canvas.text(20, 34, headline, 19, INK)
    for index, line in enumerate(text):
        canvas.text(20, 60 + _LINE * index, line, 13, SOFT)
    longest = 1.15 * max(budget_ms, *(point.p99_ms for point in points))
    lowest = min(0.9, *(point.map_rank for point in points))
    # The axis of a plot area begins at 0: what is drawn is how far above the lowest.
    floor = math.floor(10 * lowest - 0.5) / 10
    area = PlotArea(_LEFT, top, _RIGHT, top + _HEIGHT, 0, longest, (1 - floor) * 1.06)
    area.draw_axes(
        canvas,
        "Agreement of the distance maps with the full setting (rank correlation)",
        "milliseconds a frame: the dot is p99, the line begins at p50",
        round_ticks(0, longest, 8),
        [],
    )
    for tick in round_ticks(floor, 1):
        height = area.y(tick - floor)
        canvas.line([(area.left, height), (area.right, height)], (222, 224, 226))
        canvas.text(area.left - 6, height + 4, f"{tick:g}", TICK_SIZE, SOFT, "end")
    canvas.line([(area.x(budget_ms), area.top), (area.x(budget_ms), area.bottom)], STANDS_OUT, 1.5)
    canvas.text(area.x(budget_ms) + 4, area.bottom - 6, f"budget {budget_ms:g} ms", TICK_SIZE, STANDS_OUT)
    front = sorted((point for point in points if point.on_front), key=lambda point: point.p99_ms)
    places = [(area.x(point.p99_ms), area.y(point.map_rank - floor)) for point in front]
    if len(places) > 1:
        canvas.line(places, SERIES[0], 1.0)
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda point: -point.map_rank):
        x, y = area.x(point.p99_ms), area.y(point.map_rank - floor)
        color = SERIES[0] if point.on_front else SERIES[4]
        canvas.line([(area.x(point.p50_ms), y), (x, y)], color, 1.0)
        canvas.dot(x, y, 6 if point.is_chosen else 4, SERIES[2] if point.is_chosen else color)
        label = f"{point.name}: {point.p99_ms:.0f} ms" + (" (chosen)" if point.is_chosen else "")
        width = canvas.text_width(label, TICK_SIZE)
        left = min(x + 9, _RIGHT + 60 - width)
        place = y + 18
        while any(
            abs(place - other) < _LABEL_HEIGHT and left < end and start < left + width
            for start, end, other in taken
        ):
            place += _LABEL_HEIGHT
        taken.append((left, left + width, place))
        canvas.text(left, place, label, TICK_SIZE, INK)
    return canvas.data()
