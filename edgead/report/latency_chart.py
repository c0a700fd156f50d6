"""How long frames took, as a picture: over the run, how often, and where in a frame the time went."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgead.report.canvas import Canvas, make_canvas
from edgead.report.plot_area import GRID, SERIES, TICK_SIZE, PlotArea, round_ticks, spread_out
from edgead.report.sheet_style import INK, SOFT, STANDS_OUT

WIDTH = 980
_LEFT = 64
_RIGHT = 820
_LINE = 19
_BINS = 40
_BAR_ROW = 62
_OVER_THE_WORST = 1.06
_PERCENTILES = (50, 95, 99)
_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class LatencySeries:
    """The frames of one setting."""

    name: str
    totals_ms: Sequence[float]
    stages_ms: Mapping[str, float]
    """Median of each stage, without the total."""


def draw_latency(
    headline: str, lines: Sequence[str], series: Sequence[LatencySeries], remarks: Sequence[str], suffix: str
) -> bytes:
    """Draw the picture.

    Args:
        headline: The one sentence to remember.
        lines: Smaller sentences under it.
        series: What was measured; the percentiles drawn are of the first.
        remarks: What makes the figures doubtful.
        suffix: ``.png`` or ``.svg``.
    """
    text = [(part, SOFT) for line in lines for part in textwrap.wrap(line, 125)]
    text += [(part, STANDS_OUT) for line in remarks for part in textwrap.wrap(line, 125)]
    top = 52 + _LINE * len(text) + 40
    bars = top + 560
    height = bars + 30 + _BAR_ROW * len(series)
    canvas = make_canvas(suffix, WIDTH, int(height))
    canvas.text(20, 34, headline, 19, INK)
    for index, (line, color) in enumerate(text):
        canvas.text(20, 58 + _LINE * index, line, 13, color)
    y_to = _OVER_THE_WORST * max(max(each.totals_ms) for each in series)
    _draw_run(canvas, series, top, y_to)
    _draw_histogram(canvas, series, top + 310)
    _draw_stages(canvas, series, bars)
    return canvas.data()


def _draw_run(canvas: Canvas, series: Sequence[LatencySeries], top: float, y_to: float) -> None:
    count = max(len(each.totals_ms) for each in series)
    area = PlotArea(_LEFT, top, _RIGHT, top + 220, 1, max(count, 2), y_to)
    area.draw_axes(
        canvas,
        "Every frame, in the order measured (milliseconds)",
        "frame number",
        [1, *(tick for tick in round_ticks(0, count) if tick > 1)],
        round_ticks(0, y_to),
    )
    values = [float(np.percentile(series[0].totals_ms, share)) for share in _PERCENTILES]
    for value in values:
        canvas.line([(area.left, area.y(value)), (area.right, area.y(value))], INK, 0.8)
    for index, each in reversed(list(enumerate(series))):
        for number, value in enumerate(each.totals_ms, start=1):
            canvas.dot(area.x(number), area.y(value), 1.9, SERIES[index % len(SERIES)])
    # From the bottom up, since the y axis of a canvas points down.
    places = spread_out([-area.y(value) for value in values], 15)
    for share, value, place in zip(_PERCENTILES, values, places, strict=True):
        canvas.text(area.right + 8, 4 - place, f"p{share}: {value:.1f} ms", 13, INK)


def _draw_histogram(canvas: Canvas, series: Sequence[LatencySeries], top: float) -> None:
    low = min(min(each.totals_ms) for each in series)
    high = max(max(each.totals_ms) for each in series)
    pad = 0.03 * (high - low) or 0.5
    edges = np.linspace(low - pad, high + pad, _BINS + 1)
    counts = [np.histogram(each.totals_ms, edges)[0] for each in series]
    tallest = int(max(each.max() for each in counts))
    area = PlotArea(_LEFT, top, _RIGHT, top + 170, float(edges[0]), float(edges[-1]), tallest * 1.1)
    area.draw_axes(
        canvas,
        "How many frames took how long",
        "milliseconds a frame",
        round_ticks(float(edges[0]), float(edges[-1]), 8),
        [tick for tick in round_ticks(0, tallest) if tick == int(tick)],
    )
    width = (area.x(edges[1]) - area.x(edges[0])) / len(series)
    for index, each in enumerate(counts):
        for start, number in zip(edges[:-1].tolist(), each.tolist(), strict=True):
            if number:
                left = area.x(start) + index * width
                canvas.box(
                    left,
                    area.y(number),
                    width - 0.75,
                    area.bottom - area.y(number),
                    SERIES[index % len(SERIES)],
                )
    values = [float(np.percentile(series[0].totals_ms, share)) for share in _PERCENTILES]
    for value in values:
        canvas.line([(area.x(value), area.top - 4), (area.x(value), area.bottom)], INK, 0.8)
    for share, place in zip(_PERCENTILES, spread_out([area.x(value) for value in values], 30), strict=True):
        canvas.text(place + 3, area.top + 6, f"p{share}", TICK_SIZE, INK)


def _draw_stages(canvas: Canvas, series: Sequence[LatencySeries], top: float) -> None:
    """One bar a setting: the medians of its stages end to end."""
    canvas.text(_LEFT, top, "Where a frame's time goes (medians)", 14, INK)
    longest = max(sum(each.stages_ms.values()) for each in series) or 1.0
    for row, each in enumerate(series):
        canvas.box(_LEFT, top + 18 + _BAR_ROW * row, 10, 10, SERIES[row % len(SERIES)])
        canvas.text(_LEFT + 16, top + 27 + _BAR_ROW * row, each.name, TICK_SIZE, INK)
        y = top + 34 + _BAR_ROW * row
        x = float(_LEFT)
        left_out = []
        dark = False
        for stage, value in each.stages_ms.items():
            width = value / longest * (_RIGHT - _LEFT)
            label = f"{stage} {value:.1f}"
            if width >= 1:  # what cannot be seen must not make its neighbours look alike
                canvas.box(x, y, width, 16, SERIES[row % len(SERIES)] if dark else GRID)
            if canvas.text_width(label, TICK_SIZE) + 8 < width:
                canvas.text(x + 4, y + 12, label, TICK_SIZE, _WHITE if dark else INK)
            else:
                left_out.append(label)
            dark ^= width >= 1
            x += width
        if left_out:
            canvas.text(_LEFT, y + 30, "the thin ones: " + ", ".join(left_out) + " ms", TICK_SIZE, SOFT)
