"""The report of a soak: what was promised and found, as Markdown; and the curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgead_runtime.files import write_atomic

from benchmarks.common import table
from benchmarks.soak.judging import Check
from edgead.report.canvas import Canvas, PngCanvas
from edgead.report.plot_area import SERIES, PlotArea, round_ticks, spread_out
from edgead.report.sheet_style import INK, SOFT, Color

_WIDTH, _PLOT_HEIGHT, _LABELS = 1000, 300, 170
_AWAY: Color = (238, 234, 222)
_MARKS = {True: "ok", False: "**FAILED**", None: "-"}
_ROUND_TO_S = 10


def verdict(checks: Sequence[Check]) -> str:
    """In a sentence."""
    failed = [check.name for check in checks if check.passed is False]
    if failed:
        return f"FAILED: {'; '.join(failed)}."
    judged = sum(check.passed is not None for check in checks)
    return f"Passed: all {judged} checks that could be judged."


def as_text(data: dict[str, Any], checks: Sequence[Check]) -> str:
    """Markdown."""
    plan, runs, machine = data["plan"], data["runs"], data["machine"]
    graph = "its frame graph" if runs["frame_graph"] else "the encoder alone"
    facts = (
        f"{data['seconds'] / 60:.1f} minutes of a camera of {plan['side']} x {plan['side']} at {plan['fps']} "
        f"frames/s; encoder {plan['encoder']} ({graph}) in {runs['engine']}, {plan['precision']}; "
        f"{machine['cores']} cores of {machine['cpu']}."
    )
    rows = [[_MARKS[check.passed], check.name, check.found] for check in checks]
    return f"{verdict(checks)}\n\n{facts}\n\n{table(['', 'promised', 'found'], rows)}"


def draw(data: dict[str, Any], path: Path) -> None:
    """Memory, latency, drops and what waits, over time."""
    lines = data["samples"]
    waiting = [name for name in lines[0] if name.startswith("waiting: ")]
    plots: list[tuple[str, dict[str, str]]] = [
        (
            "MB resident (the browser is no part of the loop)",
            {"resident_mb": "the loop", "children_mb": "its children", "browser_mb": "browser"},
        ),
        ("ms from capture to verdict, of two seconds each", {"p50_ms": "p50", "p99_ms": "p99"}),
        ("% of the captured frames dropped, of ten seconds each", {"dropped_percent": "dropped"}),
        (
            "messages that wait in the outbox",
            {name: name.removeprefix("waiting: ").split(" /")[0] for name in waiting},
        ),
        ("rows of the bank: a lesson, and its undoing", {"bank_rows": "bank"}),
    ]
    canvas = PngCanvas(_WIDTH, len(plots) * _PLOT_HEIGHT + 60)
    title = f"{data['seconds'] / 60:.0f} minutes of a camera at {data['plan']['fps']} frames/s"
    canvas.text(20, 32, f"{title}, {data['runs']['engine']}; grey: one sink is away", 17, INK)
    samples = _with_drops(lines)
    for place, (name, columns) in enumerate(plots):
        _draw_plot(canvas, 84 + place * _PLOT_HEIGHT, name, columns, samples, data["plan"]["minutes"])
    write_atomic(path, canvas.data())


def _with_drops(lines: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """With the share of frames dropped, over some seconds: two hold too few frames for a share."""
    step = lines[1]["minutes"] - lines[0]["minutes"] if len(lines) > 1 else 1.0
    width = max(1, round(_ROUND_TO_S / 60 / step))
    shown = []
    for place, line in enumerate(lines):
        about = lines[max(0, place + 1 - width) : place + 1]
        dropped, inspected = (sum(each[name] for each in about) for name in ("dropped", "frames"))
        shown.append({**line, "dropped_percent": 100 * dropped / max(1.0, dropped + inspected)})
    return shown


def _draw_plot(
    canvas: Canvas,
    above: float,
    title: str,
    columns: dict[str, str],
    samples: Sequence[dict[str, float]],
    minutes: float,
) -> None:
    top = 1.1 * max([1.0, *(line[name] for line in samples for name in columns if name in line)])
    last = max(samples[-1]["minutes"], minutes)
    area = PlotArea(70, above, _WIDTH - _LABELS, above + _PLOT_HEIGHT - 70, 0.0, last, top)
    start, end = area.x(minutes / 3), area.x(min(last, minutes * 2 / 3))
    canvas.box(start, above, end - start, area.bottom - above, _AWAY)
    area.draw_axes(canvas, title, "minutes", round_ticks(0, last)[1:], round_ticks(0, top))
    ends = []
    for number, (name, label) in enumerate(columns.items()):
        color = SERIES[number % len(SERIES)]
        # A loop that stands has no latency then.
        points = [(area.x(line["minutes"]), area.y(line[name])) for line in samples if name in line]
        if len(points) > 1:
            canvas.line(points, color, 1.8)
        if points:
            ends.append((points[-1][1], label, color))
    ends.sort(key=lambda end: end[0])
    places = spread_out([place for place, _, _ in ends], 15)
    for place, (_, label, color) in zip(places, ends, strict=True):
        canvas.text(area.right + 10, place + 4, label[:22], 13, color)
    if not ends:
        canvas.text(area.left + 10, above + 20, "nothing to show", 13, SOFT)
