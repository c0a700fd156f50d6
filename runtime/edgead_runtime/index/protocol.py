"""What a search index is: the protocol, and its entry in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


class SearchIndex(Protocol):
    """Finds a near row of a bank for each query. Immutable, and safe for calls from several threads."""

    exact: bool
    """Whether what it finds is always the nearest."""

    def nearest(self, queries: Matrix) -> Matrix:
        """Cosine distance of every query ``[Q, D]`` to a row of the bank, ``[Q]``, in [0, 2].

        It is the distance to a row that is there, computed in float32. So an index that misses the nearest
        gives too much and never too little, and :mod:`edgead_runtime.settling` can put right what counts.
        """

    @property
    def nbytes(self) -> int:
        """Memory that it takes beside the bank."""


Build = Callable[[Sequence[Matrix], int | None], SearchIndex]
"""From banks ``[M_i, D]``, searched as if stacked, and a number of threads."""


@dataclass(frozen=True)
class IndexSpec:
    """A way to search: which module makes the index, and what to install where its package is missing."""

    name: str
    module: str
    """Module of this package with ``build(banks, threads) -> SearchIndex``.

    Where that takes long there is also ``build_once``, which keeps what it made in the cache folder.
    """
    requires: str | None
    """Import name of the third-party package, where it needs one."""
    install: str
    summary: str
