"""usearch: a graph as hnswlib's, rows in fp16; what it finds is measured again in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index


@dataclass(frozen=True, eq=False)
class UsearchIndex:
    """A graph, and the rows to measure again."""

    exact = False
    graph: Any
    rows: NDArray[np.float32]
    nbytes: int

    def nearest(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances to the rows that the graph found."""
        found = self.graph.search(queries, 1).keys.ravel().astype(np.intp)
        return np.clip(1 - (queries * self.rows[found]).sum(axis=1), 0, 2).astype(np.float32)


def build(banks: Sequence[NDArray[np.float32]], _threads: int | None = None) -> UsearchIndex:
    """Build the graph."""
    rows = np.concatenate(banks)
    graph = Index(ndim=rows.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=100)
    graph.add(np.arange(len(rows)), rows)
    graph.expansion_search = 64
    return UsearchIndex(graph, rows, int(graph.memory_usage))
