"""An index that was built once, and what came into the bank since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgead_runtime.index.exact import nearest_distances
from edgead_runtime.index.protocol import Build, Matrix, SearchIndex

_NEW_ROWS = 8192
"""Rows that are searched exactly beside the index, for a while: an eighth of what 65,000 would take."""
_NEW_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class GrowingIndex:
    """An approximate index over the first banks, and exact search in those that were added later.

    So adding a good part costs nothing until a tenth of the bank is new, and taking one of them back is
    dropping it. Then the index is built again, while calls go on with the old one.
    """

    exact = False
    built: SearchIndex
    indexed: tuple[Matrix, ...]
    """The banks that ``built`` is of."""
    added: tuple[Matrix, ...]
    build: Build
    """How it is built again."""
    threads: int | None

    def following(self, banks: Sequence[Matrix]) -> GrowingIndex:
        """The index of a memory that came from this one's by adding or taking back."""
        known = len(self.indexed)
        added = tuple(banks[known:])
        is_longer = len(banks) >= known and all(
            bank is one for bank, one in zip(banks, self.indexed, strict=False)
        )
        limit = max(_NEW_ROWS, _NEW_SHARE * sum(map(len, self.indexed)))
        if is_longer and sum(map(len, added)) <= limit:
            return replace(self, added=added)
        return replace(self, built=self.build(banks, self.threads), indexed=tuple(banks), added=())

    def nearest(self, queries: Matrix) -> Matrix:
        """See :class:`SearchIndex`."""
        found = self.built.nearest(queries)
        if not any(map(len, self.added)):
            return found
        return np.asarray(np.minimum(found, nearest_distances(queries, self.added)), dtype=np.float32)

    @property
    def nbytes(self) -> int:
        """Memory beside the bank."""
        return self.built.nbytes
