"""What is said of many measured times: percentiles, and a ratio with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
_CONFIDENCE = 0.95


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds of one stage over all frames."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Ratio(msgspec.Struct, frozen=True):
    """How many times the median of one series is that of another."""

    ratio: float
    low: float
    """Lower end of the 95 % interval."""
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt about which is larger."""
        return self.low > 1 or self.high < 1


def spread(times_ms: Sequence[float]) -> Spread:
    """Percentiles of a series; between two values the line is straight, as NumPy does it.

    Raises:
        ValueError: There is no time.
    """
    if not times_ms:
        raise ValueError("no times")
    p50, p95, p99, most = np.percentile(np.asarray(times_ms, dtype=np.float64), [50, 95, 99, 100])
    return Spread(float(p50), float(p95), float(p99), float(most))


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float], seed: int = 0) -> Ratio:
    """Ratio of medians of two series that were taken in turns, with a 95 % bootstrap interval.

    A turn is drawn with both its times, since a slow moment of the machine hit both: what the two have in
    common then falls out of the interval.

    Args:
        numerator: Milliseconds, one a turn.
        denominator: Milliseconds of the same turns.
        seed: Of the resampling, so that the same file gives the same interval.

    Raises:
        ValueError: The series are empty or of different lengths.
    """
    if len(numerator) != len(denominator):
        raise ValueError("turns have two times each")
    turns = _resamples(len(numerator), seed)
    return _ratio(numerator, denominator, turns, turns)


def unpaired_ratio(numerator: Sequence[float], denominator: Sequence[float], seed: int = 0) -> Ratio:
    """Ratio of medians of two series that have nothing to do with each other, as of two machines.

    The interval holds what varied within each run, and nothing of what differs from run to run.

    Args:
        numerator: Milliseconds.
        denominator: Milliseconds.
        seed: Of the resampling.

    Raises:
        ValueError: One is empty.
    """
    above, below = _resamples(len(numerator), seed), _resamples(len(denominator), seed + 1)
    return _ratio(numerator, denominator, above, below)


def _resamples(count: int, seed: int) -> NDArray[np.int64]:
    """Indices ``[resamples, count]``, drawn with replacement."""
    if count == 0:
        raise ValueError("no times")
    return np.random.default_rng(seed).integers(0, count, (_RESAMPLES, count))


def _ratio(
    numerator: Sequence[float],
    denominator: Sequence[float],
    above: NDArray[np.int64],
    below: NDArray[np.int64],
) -> Ratio:
    top, bottom = (np.asarray(series, dtype=np.float64) for series in (numerator, denominator))
    drawn = np.median(top[above], axis=1) / np.median(bottom[below], axis=1)
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Ratio(float(np.median(top) / np.median(bottom)), float(low), float(high))
