"""Pictures of the tables: bars of ways, lines of what grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgead_runtime.files import write_atomic

from edgead.report.canvas import PngCanvas
from edgead.report.plot_area import SERIES, TICK_SIZE, PlotArea, round_ticks, spread_out
from edgead.report.sheet_style import INK, SOFT

_WIDTH = 900
_ROW = 30
_NAMES_PX = 290


def draw_bars(path: Path, title: str, stages: Mapping[str, Mapping[str, float]]) -> None:
    """One bar a way, its stages end to end.

    Args:
        path: PNG to write.
        title: What it shows.
        stages: Milliseconds by way and stage.
    """
    names = list(dict.fromkeys(stage for parts in stages.values() for stage in parts))
    height = 90 + _ROW * len(stages) + 50
    canvas = PngCanvas(_WIDTH, height)
    canvas.text(20, 32, title, 17, INK)
    longest = max(sum(parts.values()) for parts in stages.values())
    area = PlotArea(_NAMES_PX, 84, _WIDTH - 90, height - 46, 0, longest, 1)
    area.draw_axes(canvas, "", "milliseconds a frame (median)", round_ticks(0, longest), [])
    x = float(_NAMES_PX)
    for index, name in enumerate(names):
        canvas.box(x, 52, 10, 10, SERIES[index % len(SERIES)])
        canvas.text(x + 15, 62, name, TICK_SIZE, SOFT)
        x += canvas.text_width(name, TICK_SIZE) + 34
    for row, (way, parts) in enumerate(stages.items()):
        y = 84 + _ROW * row
        canvas.text(_NAMES_PX - 10, y + 16, way, 13, INK, "end")
        at = 0.0
        for stage, value in parts.items():
            left = area.x(at)
            canvas.box(left, y + 3, area.x(at + value) - left, 18, SERIES[names.index(stage) % len(SERIES)])
            at += value
        canvas.text(area.x(at) + 6, y + 16, f"{at:.0f}", 13, INK)
    write_atomic(path, canvas.data())


def draw_lines(
    path: Path,
    title: str,
    x_title: str,
    y_title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    log_x: bool = False,
) -> None:
    """One line a label.

    Args:
        path: PNG to write.
        title: What it shows.
        x_title: What the width is.
        y_title: What the height is.
        lines: Points by label.
        log_x: Whether equal steps to the right are equal factors.
    """
    canvas = PngCanvas(_WIDTH, 420)
    canvas.text(20, 32, title, 17, INK)
    points = [point for line in lines.values() for point in line]
    places = sorted({x for x, _ in points})
    top = 1.06 * max(y for _, y in points)
    area = PlotArea(64, 84, 640, 360, places[0], places[-1], top, log_x=log_x)
    area.draw_axes(canvas, y_title, x_title, list(places), round_ticks(0, top))
    ordered = sorted(lines, key=lambda label: -lines[label][-1][1])
    labels = spread_out([area.y(lines[label][-1][1]) for label in ordered], 16)
    for label, y in zip(ordered, labels, strict=True):
        color = SERIES[list(lines).index(label) % len(SERIES)]
        placed = [(area.x(x), area.y(value)) for x, value in lines[label]]
        canvas.line(placed, color, 1.8)
        for x_px, y_px in placed:
            canvas.dot(x_px, y_px, 3, color)
        canvas.text(area.right + 12, y + 4, label, 13, color)
    write_atomic(path, canvas.data())
