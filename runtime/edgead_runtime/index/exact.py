"""Exact search by blocked matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# 8192 x 1024 float32 similarities are 32 MB: large enough for the BLAS to run at full speed, small enough
# for a bank of any size to be searched in constant memory.
_BLOCK_ROWS = 8192


def nearest_distances(
    queries: NDArray[np.float32], banks: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Cosine distance of every query to its nearest neighbour.

    Args:
        queries: ``[Q, D]``, L2-normalized.
        banks: Matrices ``[M_i, D]``, L2-normalized; searched as if stacked, without being copied.

    Returns:
        ``1 - max cosine`` per query, ``[Q]``, in [0, 2].

    Raises:
        ValueError: ``banks`` is empty.
    """
    if not banks:
        raise ValueError("nothing to search in")
    best = np.full(len(queries), -np.inf, dtype=np.float32)
    transposed = queries.T
    for bank in banks:
        for start in range(0, len(bank), _BLOCK_ROWS):
            # Bank rows first: the maximum then runs over contiguous rows, which is several times faster.
            similarities = bank[start : start + _BLOCK_ROWS] @ transposed
            np.maximum(best, similarities.max(axis=0), out=best)
    distances: NDArray[np.float32] = np.clip(np.float32(1) - best, 0, 2)
    return distances
