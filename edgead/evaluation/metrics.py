"""Metrics over scored pictures.

All of them are invariant to any increasing change of the scores, and pictures of equal score are told
apart by none of them: a tie is one threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from edgead_runtime import EdgeadError
from edgead_runtime.agreement import mean_ranks
from numpy.typing import ArrayLike, NDArray


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
    values, truth = _checked("AUROC", scores, defective)
    positives = int(truth.sum())
    negatives = truth.size - positives
    rank_sum = mean_ranks(values)[truth].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def image_average_precision(scores: ArrayLike, defective: Sequence[bool] | ArrayLike) -> float:
    """Average precision over pictures: precision at each threshold, weighted by the recall it adds.

    The same as scikit-learn's ``average_precision_score`` (no interpolation).

    Args:
        scores: One score a picture ``[P]``; higher is more anomalous.
        defective: The truth of each picture ``[P]``.

    Returns:
        0 to 1; the share of defective pictures is chance.

    Raises:
        EvaluationError: As :func:`image_auroc`.
    """
    found, alarms, positives = _counts_by_threshold("average precision", scores, defective)
    return average_precision_of_counts(found, alarms, positives)


def image_f1_max(scores: ArrayLike, defective: Sequence[bool] | ArrayLike) -> float:
    """The best F1 that any threshold on the score has.

    The threshold is chosen with the truth in hand, so it is a bound and not what a calibrated detector
    reaches.

    Args:
        scores: One score a picture ``[P]``; higher is more anomalous.
        defective: The truth of each picture ``[P]``.

    Returns:
        0 to 1.

    Raises:
        EvaluationError: As :func:`image_auroc`.
    """
    found, alarms, positives = _counts_by_threshold("F1", scores, defective)
    return f1_max_of_counts(found, alarms, positives)


def image_roc_curve(
    scores: ArrayLike, defective: Sequence[bool] | ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC curve over pictures, one point a distinct score, from (0, 0) to (1, 1).

    Returns:
        False-positive rates and true-positive rates, both rising.

    Raises:
        EvaluationError: As :func:`image_auroc`.
    """
    found, alarms, positives = _counts_by_threshold("ROC curve", scores, defective)
    false_alarms = alarms - found
    fpr = np.concatenate([[0.0], false_alarms / false_alarms[-1]])
    return fpr, np.concatenate([[0.0], found / positives])


def average_precision_of_counts(found: NDArray[np.int64], alarms: NDArray[np.int64], positives: int) -> float:
    """Average precision from counts at falling thresholds.

    Args:
        found: True positives at each threshold ``[T]``, ending at ``positives``.
        alarms: True and false positives at each threshold ``[T]``.
        positives: How many there are to find.
    """
    gained = np.diff(found, prepend=0) / positives
    return float((gained * (found / alarms)).sum())


def f1_max_of_counts(found: NDArray[np.int64], alarms: NDArray[np.int64], positives: int) -> float:
    """The best F1 from counts at some thresholds; see :func:`average_precision_of_counts`."""
    return float((2 * found / (alarms + positives)).max())


def _counts_by_threshold(
    metric: str, scores: ArrayLike, defective: Sequence[bool] | ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """True positives and alarms at each distinct score, the highest first; and how many positives."""
    values, truth = _checked(metric, scores, defective)
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.diff(values[order]) != 0, True)
    found = np.cumsum(truth[order])[last_of_tie]
    alarms = np.flatnonzero(last_of_tie) + 1
    return found.astype(np.int64), alarms.astype(np.int64), int(truth.sum())


def _checked(
    metric: str, scores: ArrayLike, defective: Sequence[bool] | ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
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
    if positives in (0, truth.size):
        raise EvaluationError(
            f"{metric} is not defined for {truth.size - positives} good and {positives} defective pictures",
            "Give at least one of each.",
        )
    return values, truth
