"""The distribution of scores as shapes, ready to be drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH = 720
HEIGHT = 170
_LEFT = 34
_RIGHT = 12
_TOP = 24
_BOTTOM = 26
_BINS = 24
_MAX_ALIGNED_BINS = 60

# Scores below are rounding; a scale made for them would divide by next to nothing.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Bar:
    """One box of a stacked bar, in SVG units."""

    group: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in SVG units."""

    position: float
    label: str


@dataclass(frozen=True)
class Histogram:
    """Stacked bars, ticks and the place of the threshold, in SVG units."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    threshold_x: float
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    baseline: float = HEIGHT - _BOTTOM
    width: float = WIDTH
    height: float = HEIGHT


def make_histogram(scores: Mapping[str, Sequence[float]], threshold: float) -> Histogram:
    """Stack the scores of each group.

    The threshold falls on the edge between two bars wherever that is possible, so that no bar holds both
    pictures that are reported and pictures that are not.

    Args:
        scores: Scores of each group, the lowest of the stack first; at least one score in all.
        threshold: Scores above it are anomalous.
    """
    top_score = max(threshold, *(score for group in scores.values() for score in group))
    bin_width, bins = _bins(top_score, threshold)
    counts = {group: _count(values, bin_width, bins) for group, values in scores.items()}
    tallest = max(sum(column) for column in zip(*counts.values(), strict=True))
    x_scale = (WIDTH - _LEFT - _RIGHT) / (bins * bin_width)
    y_scale = (HEIGHT - _TOP - _BOTTOM) / tallest
    baseline = HEIGHT - _BOTTOM

    bars = []
    for index in range(bins):
        stacked = 0
        low, high = index * bin_width, (index + 1) * bin_width
        for group, column in counts.items():
            if column[index] == 0:
                continue
            stacked += column[index]
            bars.append(
                Bar(
                    group=group,
                    x=_LEFT + low * x_scale + 0.75,
                    y=baseline - stacked * y_scale,
                    width=bin_width * x_scale - 1.5,
                    height=column[index] * y_scale,
                    title=f"{column[index]} {group}, score {low:.3g} to {high:.3g}",
                )
            )
    return Histogram(
        bars=tuple(bars),
        x_ticks=tuple(
            Tick(_LEFT + value * x_scale, f"{value:.3g}") for value in _round_values(bins * bin_width, 6)
        ),
        y_ticks=tuple(
            Tick(baseline - n * y_scale, f"{n:g}") for n in _round_values(tallest, 3) if n == int(n)
        ),
        threshold_x=_LEFT + threshold * x_scale,
    )


def _bins(top_score: float, threshold: float) -> tuple[float, int]:
    if top_score <= _NOTHING:
        return 1.0, 1
    width = top_score / _BINS
    if threshold > 0:
        aligned = threshold / max(1, round(threshold / width))
        if top_score / aligned <= _MAX_ALIGNED_BINS:
            return aligned, max(1, math.ceil(top_score / aligned - 1e-9))
    return width, _BINS


def _count(scores: Sequence[float], bin_width: float, bins: int) -> list[int]:
    counts = [0] * bins
    for score in scores:
        # A bin holds its upper edge: a score equal to the threshold is not anomalous.
        index = math.ceil(score / bin_width - 1e-9) - 1
        counts[min(max(index, 0), bins - 1)] += 1
    return counts


def _round_values(top: float, about: int) -> list[float]:
    """About ``about`` round values from 0 to ``top``."""
    rough = top / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    return [index * step for index in range(int(top / step + 1e-9) + 1)]
