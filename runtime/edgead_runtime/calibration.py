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


@dataclass(frozen=True)
class NormalScore:
    """What one good picture scores: image score and the largest value of its map."""

    image: float
    map_peak: float


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
        EnrollmentError: The rate is not between 0 and 1, or lower than so few pictures can support.
    """
    n = len(scores)
    attainable = 1 / (n + 1)
    rate = attainable if false_alarm_rate is None else false_alarm_rate
    if not 0 < rate < 1:
        raise EnrollmentError(f"a false-alarm rate of {rate} makes no sense", "Give one between 0 and 1.")
    # How many of the n scores may lie above the threshold or on it; the epsilon undoes 0.1 * 10 = 0.9999...
    rank = math.floor(rate * (n + 1) + 1e-9)
    if rank < 1:
        raise EnrollmentError(
            f"{n} good pictures cannot support a false-alarm rate of {rate:.2%} (lowest: {attainable:.1%})",
            # Rounded so that who asks for just that gets it.
            f"Give at least {math.ceil(1 / rate - 1e-9) - 1} good pictures, "
            f"or ask for {math.ceil(attainable * 1000) / 1000:.1%} or more.",
        )
    return Calibration(
        method=method,
        threshold=sorted(score.image for score in scores)[n - rank],
        pixel_threshold=sorted(score.map_peak for score in scores)[n - rank],
        pictures=n,
        attainable_false_alarm_rate=attainable,
        false_alarm_rate=rank / (n + 1),
        normal_scores=[score.image for score in scores],
    )


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
