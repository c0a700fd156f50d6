"""Whether the camera still looks at the same place: phase correlation with the good pictures.

One frame against one good picture would follow the part: it lies elsewhere, or is not there. So frames are
averaged, ten at a time, and compared with the average of the good pictures: what differs from part to part
washes out, what is always in the same place stays, and where the good pictures differ nothing counts. An
average is a *vote* where its peak is clear, and votes count once they agree.

Source: ``cv2.phaseCorrelate`` (Kuglin and Hines 1975, with a sub-pixel peak).
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.streaming.drift.looking import POSITION_SIDE

Small = NDArray[np.float32]
Shift = tuple[float, float]
"""To the right and down, as shares of width and height."""

FRAMES_A_VOTE = 10
VOTES = 5
_AGREEING = 4
_TOLERANCE = 0.0075
"""Votes that agree lie this close to their median, on both axes."""
_LEAST_RESPONSE = 0.4
"""Of the peak's energy, 1 for the same picture: below it the good pictures have no place in common."""
_SHARE_OF_RESPONSE = 0.5
"""A vote is clear when its peak has this share of what halves of the good pictures have with each other."""
_ALIGNED = 0.01
_VARIES = 0.3
"""Standard deviation between good pictures, in units of one picture's own, that halves a weight."""


def shift_between(one: Small, other: Small, weights: Small) -> tuple[Shift, float]:
    """How far the content moved from one small picture to the other, and how clear that is.

    The window is laid on here, after its own weighted mean was taken out of each picture, and not by OpenCV:
    what a window leaves of a mean is a hump in the same place of both, which the correlation finds instead of
    the shift.

    Args:
        one: From :func:`~edgead_runtime.streaming.drift.looking.look_at`, or a mean of them.
        other: Likewise.
        weights: What counts, ``[128, 128]``, 0 toward the border.

    Returns:
        The shift, and the response of the peak: 1 for a copy, about 0 where they have nothing in common.
    """
    (x, y), response = cv2.phaseCorrelate(_weighed(one, weights), _weighed(other, weights))
    return (x / POSITION_SIDE, y / POSITION_SIDE), float(response)


def _weighed(small: Small, weights: Small) -> Small:
    return np.asarray((small - np.average(small, weights=weights)) * weights, dtype=np.float32)


def border_window() -> Small:
    """1 inside, falling to 0 over the outer eighth (a Tukey window).

    A Hann window would hide the fixture around a part, which is just what stays.
    """
    edge = POSITION_SIDE // 8
    line = np.ones(POSITION_SIDE, np.float32)
    line[:edge] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    line[-edge:] = line[:edge][::-1]
    return np.asarray(np.outer(line, line), dtype=np.float32)


def steady(smalls: Sequence[Small]) -> Small:
    """Weights of what is alike in all pictures; where parts differ, they are left out."""
    varies = cv2.GaussianBlur(np.std(np.stack(smalls), axis=0), (0, 0), 3.0)
    # Smooth, or its own edges would be found in the same place of every picture.
    weights = cv2.GaussianBlur(1 / (1 + (varies / _VARIES) ** 2), (0, 0), 4.0)
    return np.asarray(weights * border_window(), dtype=np.float32)


class Place:
    """What always lies in the same place in the good pictures.

    Args:
        mean: Their mean ``[128, 128]``.
        weights: What of it counts.
        response: How clearly halves of them agree.
    """

    def __init__(self, mean: Small, weights: Small, response: float) -> None:
        self.mean, self.weights, self.response = mean, weights, response

    @classmethod
    def of(cls, smalls: Sequence[Small]) -> tuple[Place | None, str]:
        """From good pictures, where they lie over each other.

        Args:
            smalls: Of each.

        Returns:
            The place, or ``None`` and why a shift of the camera cannot be told from one of the part.
        """
        if len(smalls) < 2:
            return None, "one good picture does not tell whether parts always lie in the same place"
        responses, weights = [], steady(smalls)
        for half in _halves(len(smalls)):
            rest = [small for index, small in enumerate(smalls) if index not in half]
            first = _mean([smalls[index] for index in half])
            shift, response = shift_between(first, _mean(rest), weights)
            if response < _LEAST_RESPONSE or math.hypot(*shift) > _ALIGNED:
                return None, "the good pictures do not lie over each other, so parts move by design"
            responses.append(response)
        return cls(_mean(smalls), weights, min(responses)), ""

    def vote(self, small: Small) -> Shift | None:
        """Where a picture, or a mean of them, lies; ``None`` where that is not clear."""
        shift, response = shift_between(self.mean, small, self.weights)
        return shift if response >= _SHARE_OF_RESPONSE * self.response else None


def _halves(count: int) -> list[set[int]]:
    """First and second half, every other one, and every other pair."""
    ways = [[index < count // 2 for index in range(count)], [index % 2 == 0 for index in range(count)]]
    if count >= 4:
        ways.append([index % 4 < 2 for index in range(count)])
    halves = [set(itertools.compress(range(count), way)) for way in ways]
    return [half for number, half in enumerate(halves) if half not in halves[:number]]


def _mean(smalls: Sequence[Small]) -> Small:
    return np.asarray(np.mean(np.stack(smalls), axis=0), dtype=np.float32)


class PositionWatch:
    """Follows the shift of a camera; bounded memory, not thread-safe.

    Args:
        place: To compare with.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sum: Small = np.zeros((POSITION_SIDE, POSITION_SIDE), np.float32)
        self._count = 0
        self._votes: deque[Shift | None] = deque(maxlen=VOTES)

    def add(self, small: Small) -> None:
        """Take in a frame."""
        self._sum += small
        self._count += 1
        if self._count == FRAMES_A_VOTE:
            self._votes.append(self._place.vote(self._sum / np.float32(FRAMES_A_VOTE)))
            self._sum[:], self._count = 0, 0

    @property
    def shift(self) -> Shift | None:
        """The shift that the last votes agree on; ``None`` while they do not."""
        cast = np.array([vote for vote in self._votes if vote is not None])
        if len(cast) < _AGREEING:
            return None
        median = np.median(cast, axis=0)
        agreeing = (np.abs(cast - median) <= _TOLERANCE).all(axis=1)
        if int(agreeing.sum()) < _AGREEING:
            return None
        return float(median[0]), float(median[1])
