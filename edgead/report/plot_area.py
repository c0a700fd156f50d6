"""A box with two axes: from values to places on a canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgead.report.canvas import Canvas
from edgead.report.sheet_style import INK, SOFT, Color

GRID: Color = (222, 224, 226)
SERIES: tuple[Color, ...] = (
    (31, 96, 166),
    (202, 95, 12),
    (44, 132, 82),
    (140, 72, 150),
    (120, 120, 120),
    (180, 40, 60),
    (0, 140, 150),
    (150, 120, 20),
    (90, 70, 200),
    (60, 60, 60),
)
TICK_SIZE = 12


@dataclass(frozen=True)
class PlotArea:
    """Where a plot lies and which values its edges stand for."""

    left: float
    top: float
    right: float
    bottom: float
    x_from: float
    x_to: float
    y_to: float
    log_x: bool = False

    def x(self, value: float) -> float:
        """Place of a value on the x axis."""
        low, high, at = self.x_from, self.x_to, value
        if self.log_x:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = 0.5 if high == low else (at - low) / (high - low)
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        """Place of a value on the y axis, which begins at 0."""
        return self.bottom - value / self.y_to * (self.bottom - self.top)

    def draw_axes(
        self, canvas: Canvas, title: str, x_title: str, x_ticks: list[float], y_ticks: list[float]
    ) -> None:
        """Title above, grid, and numbers along both axes."""
        canvas.text(self.left, self.top - 14, title, 14, INK)
        for tick in y_ticks:
            canvas.line([(self.left, self.y(tick)), (self.right, self.y(tick))], GRID)
            canvas.text(self.left - 6, self.y(tick) + 4, f"{tick:g}", TICK_SIZE, SOFT, "end")
        for tick in x_ticks:
            canvas.line([(self.x(tick), self.bottom), (self.x(tick), self.bottom + 4)], SOFT)
            canvas.text(self.x(tick), self.bottom + 17, f"{tick:g}", TICK_SIZE, SOFT, "middle")
        canvas.line([(self.left, self.bottom), (self.right, self.bottom)], SOFT)
        canvas.text((self.left + self.right) / 2, self.bottom + 34, x_title, TICK_SIZE, SOFT, "middle")


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """About so many round values from ``low`` to ``high``."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def spread_out(places: list[float], distance: float) -> list[float]:
    """Places from low to high, moved up where they would be closer than ``distance``."""
    moved: list[float] = []
    for place in places:
        moved.append(place if not moved else max(place, moved[-1] + distance))
    return moved
