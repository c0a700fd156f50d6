"""Thresholds where nobody said which pictures are good: a guess, and labelled as one wherever it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from edgead_runtime.calibration import NormalScore

SPREADS = 3.0
"""How many robust standard deviations above the median the guess lies."""
_MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation in units of its median absolute deviation."""


@dataclass(frozen=True)
class ThresholdGuess:
    """Thresholds made of the batch's own scores. They claim no false-alarm rate."""

    threshold: float
    pixel_threshold: float
    pictures: int
    """How many scores they are made of."""

    def explain(self) -> str:
        """Where it comes from, for a person."""
        return (
            f"Threshold {self.threshold:.4f} is a guess from the scores of these {self.pictures} pictures "
            f"(median + {SPREADS:g} robust standard deviations). It assumes that most of them are good, and "
            "claims no false-alarm rate."
        )


def guess_thresholds(scores: Sequence[NormalScore]) -> ThresholdGuess:
    """Median + 3 x 1.4826 x median absolute deviation, of the image scores and of the maps' peaks [ours].

    Neither moves much while fewer than half of the pictures are defective, which a mean would.

    Args:
        scores: Of all pictures that are no copies; at least one.
    """
    return ThresholdGuess(
        threshold=_far_above([score.image for score in scores]),
        pixel_threshold=_far_above([score.map_peak for score in scores]),
        pictures=len(scores),
    )


def _far_above(values: Sequence[float]) -> float:
    median = float(np.median(values))
    deviation = float(np.median(np.abs(np.array(values) - median)))
    return median + SPREADS * _MAD_TO_SIGMA * deviation
