"""Exact search by blocked matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# 8192 x 1024 float32 similarities are 32 MB: large enough for the BLAS to run at full speed, small enough
# for a bank of any size to be searched in constant memory.
_BLOCK_ROWS = 8192


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """All of the bank, every time. It keeps no copy."""

    exact = True
    nbytes = 0
    banks: tuple[NDArray[np.float32], ...]

    def nearest(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :class:`edgead_runtime.index.SearchIndex`."""
        return nearest_distances(queries, self.banks)


def nearest_distances(
    queries: NDArray[np.float32], banks: Sequence[NDArray[np.float32]], neighbours: int = 1
) -> NDArray[np.float32]:
    """Cosine distance of every query to its nearest neighbours.

    Args:
        queries: ``[Q, D]``, L2-normalized.
        banks: Matrices ``[M_i, D]``, L2-normalized; searched as if stacked, without being copied.
        neighbours: k; the distances to the k nearest are averaged (to all, where there are fewer).

    Returns:
        ``1 - cosine``, mean over the k nearest, per query ``[Q]``, in [0, 2].

    Raises:
        ValueError: ``banks`` is empty.
    """
    if not banks:
        raise ValueError("nothing to search in")
    best: NDArray[np.float32] | None = None
    transposed = queries.T
    for bank in banks:
        for start in range(0, len(bank), _BLOCK_ROWS):
            # Bank rows first: the maximum then runs over contiguous rows, which is several times faster.
            similarities = bank[start : start + _BLOCK_ROWS] @ transposed
            found = _top_rows(similarities, neighbours)
            best = found if best is None else _top_rows(np.concatenate([best, found]), neighbours)
    if best is None:
        raise ValueError("nothing to search in")
    distances: NDArray[np.float32] = np.clip(1 - best, 0, 2).mean(axis=0)
    return distances


def _top_rows(similarities: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The ``count`` largest of every column ``[rows, Q]``, in any order."""
    if count == 1:
        return np.asarray(similarities.max(axis=0, keepdims=True), dtype=np.float32)
    if len(similarities) <= count:
        return similarities
    top: NDArray[np.float32] = np.partition(similarities, len(similarities) - count, axis=0)[-count:]
    return top
