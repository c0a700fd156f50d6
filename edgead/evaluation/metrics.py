"""Metrics over scored pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from edgead_runtime import EdgeadError
from numpy.typing import ArrayLike


class EvaluationError(EdgeadError):
    """The scores and labels given do not define the metric."""


def image_auroc(scores: ArrayLike, defective: Sequence[bool] | ArrayLike) -> float:
    """Area under the ROC curve over pictures.

    It is the chance that a defective picture scores higher than a good one, ties counting half: the
    Mann-Whitney statistic, from the ranks (ties share their mean rank).

    Args:
        scores: One score a picture ``[P]``; higher is more anomalous.
        defective: The truth of each picture ``[P]``.

    Returns:
        0 to 1; 0.5 is chance.

    Raises:
        EvaluationError: The lengths differ, a score is not a number, or one of the two kinds is missing.
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(defective, dtype=bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise EvaluationError(
            f"{values.size} scores do not match {truth.size} labels",
            "Give one score and one label a picture.",
        )
    if np.isnan(values).any():
        raise EvaluationError(
            "a score is not a number", "Leave out the pictures that could not be inspected."
        )
    positives = int(truth.sum())
    negatives = truth.size - positives
    if positives == 0 or negatives == 0:
        raise EvaluationError(
            f"AUROC is not defined for {negatives} good and {positives} defective pictures",
            "Give at least one of each.",
        )
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = mean_ranks[position][truth].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))
