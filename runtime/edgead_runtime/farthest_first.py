"""Few rows that stand for many: greedy k-center, also known as farthest-first traversal.

Gonzalez, Clustering to minimize the maximum intercluster distance (1985): the row that is farthest from all
that were chosen is chosen next. Its covering radius is at most twice the smallest that so many rows can have.
PatchCore (Roth et al., CVPR 2022) chooses its coreset this way.

Distances here are *chords*, ``|x - c| = sqrt(2 (1 - cos))``: they obey the triangle inequality, and for any
query q of length 1 the cosine distances to x and c differ by ``|q (x - c)|``, which is at most the chord.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.blas_threads import one_blas_thread

Matrix = NDArray[np.float32]

_BATCH = 256
_BLOCK_ROWS = 8192
_ROUNDING = 2e-6
"""Of ``1 - cos`` in float32: a row counts as near only where it is so without doubt."""
_TAKEN = -1.0


@dataclass(frozen=True, eq=False)
class Cover:
    """Rows that were chosen, and how near every row is to one of them."""

    chosen: NDArray[np.int32]
    """Numbers of the rows, ascending."""
    radius: float
    """The largest chord from a row to the nearest that is known or chosen, computed from the differences."""


def farthest_first(
    rows: Matrix, *, count: int | None = None, within: float = 0.0, known: Matrix | None = None
) -> Cover:
    """Choose rows until there are ``count``, or every row is within a chord of one.

    Rows are chosen in batches, each as if one after another: a batch is the rows that were farthest before
    it, and it ends where one outside it might be farther than what is left of it.

    Args:
        rows: L2-normalized ``[M, D]``.
        count: No more than these; ``None``: as many as it takes.
        within: Chord, at least 0.
        known: Rows ``[K, D]`` that stand for others already and are not counted.
    """
    count = len(rows) if count is None else min(count, len(rows))
    search = _Search(rows)
    if known is not None and len(known):
        search.compare(known, first=0)
    elif count and len(rows):
        search.take(np.zeros(1, dtype=np.intp))
    enough = within * within / 2 - _ROUNDING
    if enough <= 0:
        enough = _TAKEN / 2  # so near that similarities cannot tell: nothing is left out
    with one_blas_thread():  # twice as fast on two busy cores: most of the products are small
        while len(search.chosen) < count:
            batch = search.next_batch(count - len(search.chosen), enough)
            if not len(batch):
                break
            search.take(batch)
    return Cover(np.sort(np.array(search.chosen, dtype=np.int32)), search.radius(known))


class _Search:
    """Cosine distance of every row to the nearest that stands for others, and which that is."""

    def __init__(self, rows: Matrix) -> None:
        self._rows = rows
        self._distance = np.full(len(rows), np.inf, dtype=np.float32)
        self._nearest = np.zeros(len(rows), dtype=np.intp)
        """Counted over the known rows and then the chosen ones, in the order of choosing."""
        self._numbered = 0
        self.chosen: list[int] = []

    def compare(self, stand_ins: Matrix, first: int) -> None:
        """Let these rows, counted from ``first``, stand for those that they are nearest to."""
        for start in range(0, len(self._rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            similarities = self._rows[block] @ stand_ins.T
            place = similarities.argmax(axis=1)
            distance = 1 - similarities[np.arange(len(place)), place]
            nearer = distance < self._distance[block]
            self._distance[block] = np.where(nearer, distance, self._distance[block])
            self._nearest[block] = np.where(nearer, first + place, self._nearest[block])
        self._numbered = first + len(stand_ins)

    def take(self, batch: NDArray[np.intp]) -> None:
        first = self._numbered
        self.compare(self._rows[batch], first)
        self._distance[batch] = _TAKEN  # also a zero row, which is near nothing
        self._nearest[batch] = first + np.arange(len(batch))
        self.chosen += batch.tolist()

    def next_batch(self, most: int, enough: float) -> NDArray[np.intp]:
        candidates, outside = np.arange(len(self._distance)), -np.inf
        if len(candidates) > _BATCH:
            farthest = np.argpartition(self._distance, -_BATCH - 1)[-_BATCH - 1 :]
            farthest = farthest[np.argsort(self._distance[farthest], kind="stable")]
            candidates, outside = farthest[1:], float(self._distance[farthest[0]])
        distance = self._distance[candidates].copy()
        between = 1 - self._rows[candidates] @ self._rows[candidates].T
        batch: list[int] = []
        while len(batch) < most:
            place = int(distance.argmax())
            if distance[place] <= enough or (batch and distance[place] < outside):
                break
            batch.append(int(candidates[place]))
            distance = np.minimum(distance, between[place])
            distance[place] = _TAKEN
        return np.array(batch, dtype=np.intp)

    def radius(self, known: Matrix | None) -> float:
        """From the differences: ``1 - cos`` of near rows is mostly rounding."""
        if not len(self._rows):
            return 0.0
        stand_ins = self._rows[self.chosen]
        if known is not None and len(known):
            stand_ins = np.concatenate([known, stand_ins])
        largest = 0.0
        for start in range(0, len(self._rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            apart = (self._rows[block] - stand_ins[self._nearest[block]]).astype(np.float64)
            largest = max(largest, float(np.sqrt((apart * apart).sum(axis=1).max())))
        return largest
