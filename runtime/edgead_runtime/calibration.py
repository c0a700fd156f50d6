"""Thresholds from few good pictures, and what false-alarm rate they can honestly claim.

From ``n`` exchangeable good scores, a new good score exceeds the j-th largest with probability at most
``j / (n + 1)`` (split conformal prediction). So nothing below ``1 / (n + 1)`` can be claimed. Scores from
leaving each reference out of its own bank err on the safe side, since that bank is one picture short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgead_runtime.errors import EnrollmentError
from edgead_runtime.manifest import Calibration

_SAME = 1e-4
"""A score that only a copy reaches: rounding alone is a hundred times below, another picture far above."""


@dataclass(frozen=True)
class NormalScore:
    """What one good picture scores: image score and the largest value of its map."""

    image: float
    map_peak: float
    mean: float | None = None
    """Mean patch distance inside its mask."""


def calibrate(
    scores: Sequence[NormalScore],
    method: Literal["leave-one-out", "held-out"],
    false_alarm_rate: float | None,
) -> Calibration:
    """Choose the thresholds from scores of good pictures.

    Args:
        scores: At least one.
        method: Where they come from.
        false_alarm_rate: The rate not to exceed, or ``None`` for the lowest that can be claimed.

    Raises:
        EnrollmentError: The rate is not between 0 and 1, or lower than so few pictures can support; or the
            threshold would be 0, since the pictures are copies of each other.
    """
    n = len(scores)
    rank = _rank(n, false_alarm_rate)
    threshold = sorted(score.image for score in scores)[n - rank]
    if threshold < _SAME:
        raise EnrollmentError(
            f"{n - rank + 1} of {n} good pictures are all but copies of others (they score below {_SAME})",
            "Give pictures of different parts, or of the same part put down anew.",
        )
    return Calibration(
        method=method,
        threshold=threshold,
        pixel_threshold=sorted(score.map_peak for score in scores)[n - rank],
        pictures=n,
        attainable_false_alarm_rate=1 / (n + 1),
        false_alarm_rate=rank / (n + 1),
        normal_scores=[score.image for score in scores],
        normal_means=[score.mean for score in scores if score.mean is not None],
    )


def check_rate(pictures: int, false_alarm_rate: float | None, *, held_out: bool) -> None:
    """Refuse a rate that so few pictures cannot support, before any work.

    Args:
        pictures: How many good pictures the threshold will come from.
        false_alarm_rate: The rate asked for, or ``None``.
        held_out: Whether they stay out of the bank.

    Raises:
        EnrollmentError: It is not between 0 and 1, or too low.
    """
    if false_alarm_rate is None:
        return
    if pictures < 2 and not held_out:
        raise EnrollmentError(
            "no false-alarm rate can be claimed from one good picture",
            "Give more good pictures, or leave the false-alarm rate out.",
        )
    _rank(pictures, false_alarm_rate)


def _rank(n: int, false_alarm_rate: float | None) -> int:
    """How many of ``n`` scores may lie on the threshold or above it."""
    attainable = 1 / (n + 1)
    rate = attainable if false_alarm_rate is None else false_alarm_rate
    if not 0 < rate < 1:
        raise EnrollmentError(f"a false-alarm rate of {rate} makes no sense", "Give one between 0 and 1.")
    # The epsilon undoes 0.1 * 10 = 0.9999...
    rank = math.floor(rate * (n + 1) + 1e-9)
    if rank < 1:
        raise EnrollmentError(
            f"{n} good pictures cannot support a false-alarm rate of {rate:.2%} (lowest: {attainable:.1%})",
            # Rounded so that who asks for just that gets it.
            f"Give at least {math.ceil(1 / rate - 1e-9) - 1} good pictures, "
            f"or ask for {math.ceil(attainable * 1000) / 1000:.1%} or more.",
        )
    return rank


def guess_from_self_similarity(score: NormalScore) -> Calibration:
    """A labelled guess for a detector with one reference.

    Args:
        score: Of the reference against the rest of itself, see
            :func:`edgead_runtime.enrollment.self_distances`.
    """
    return Calibration(
        method="self-similarity",
        threshold=score.image,
        pixel_threshold=score.map_peak,
        pictures=1,
        attainable_false_alarm_rate=0.5,
        false_alarm_rate=None,
        normal_scores=[score.image],
    )


def check_threshold(threshold: float) -> None:
    """Refuse what cannot be a threshold.

    Raises:
        EnrollmentError: It is not a finite number of at least 0.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        raise EnrollmentError(f"a threshold of {threshold} makes no sense", "Give a number of at least 0.")


def by_hand(old: Calibration, threshold: float) -> Calibration:
    """The same calibration with the image threshold set by a person, and marked as such.

    Args:
        old: What is replaced; its pixel threshold and scores stay.
        threshold: In units of patch distance.

    Raises:
        EnrollmentError: It is not a finite number of at least 0.
    """
    check_threshold(threshold)
    return msgspec.structs.replace(old, method="manual", threshold=float(threshold), false_alarm_rate=None)


def explain(calibration: Calibration) -> str:
    """One sentence for a person: where the threshold comes from and what it can claim."""
    limit = f"Threshold {calibration.threshold:.4f}"
    n = calibration.pictures
    if calibration.method == "manual":
        return f"{limit}, set by hand."
    if calibration.method == "self-similarity":
        return (
            f"{limit} is a guess from one picture (how much it varies across itself): "
            "enrol a second good picture for a calibrated one."
        )
    source = (
        "good pictures, each left out of the bank in turn"
        if calibration.method == "leave-one-out"
        else ("held-out good pictures")
    )
    return (
        f"{limit} from {n} {source}: at most {calibration.false_alarm_rate or 0:.1%} false alarms can be "
        f"claimed; the lowest that {n} pictures can claim is {calibration.attainable_false_alarm_rate:.1%}."
    )
