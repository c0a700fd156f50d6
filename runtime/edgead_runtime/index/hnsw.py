"""A navigable small-world graph, by hnswlib.

Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs (TPAMI 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgead_runtime.index.kept_graphs import kept_or_made
from edgead_runtime.index.protocol import Matrix
from edgead_runtime.installed import version_of

_LINKS = 16
_BUILD_WIDTH = 100
_SEARCH_WIDTH = 16
"""Wider finds more of the nearest and takes longer; the image score is settled exactly either way."""


@dataclass(frozen=True, eq=False)
class HnswIndex:
    """A graph that does not change once it is built: adding while others search is not safe in hnswlib."""

    exact = False
    graph: Any
    nbytes: int

    def nearest(self, queries: Matrix) -> Matrix:
        """See :class:`edgead_runtime.index.SearchIndex`."""
        if not self.graph.element_count:
            return np.full(len(queries), 2, dtype=np.float32)
        # Its distance is 1 - cos in float32, of the row it found.
        _, distances = self.graph.knn_query(queries, k=1)
        return np.asarray(np.clip(distances[:, 0], 0, 2), dtype=np.float32)


def build(banks: Sequence[Matrix], threads: int | None = None) -> HnswIndex:
    """Build the graph: about 7 s for 100,000 rows on two cores (``python -m benchmarks.index``).

    Args:
        banks: L2-normalized ``[M_i, D]``.
        threads: Of building and searching; they are started for each call and do not spin in between.
    """
    return _index(_made(banks, threads), banks, threads)


def build_once(banks: Sequence[Matrix], threads: int | None = None) -> HnswIndex:
    """The same, kept in the cache folder: read in a tenth of the time when the same rows come again."""
    rows, dim = _shape(banks)

    def read(path: str) -> Any:
        graph = _empty(dim)
        graph.load_index(path, max_elements=rows)
        if graph.element_count != rows:
            raise RuntimeError(f"a graph of {graph.element_count} rows instead of {rows}")
        return graph

    facts = f"hnswlib {version_of('hnswlib')} {_LINKS} {_BUILD_WIDTH}"
    graph = kept_or_made(
        banks, facts, read, lambda: _made(banks, threads), lambda made, path: made.save_index(path)
    )
    return _index(graph, banks, threads)


def _made(banks: Sequence[Matrix], threads: int | None) -> Any:
    rows, dim = _shape(banks)
    graph = _empty(dim)
    graph.init_index(max_elements=rows, M=_LINKS, ef_construction=_BUILD_WIDTH, random_seed=0)
    if threads is not None:
        graph.set_num_threads(threads)
    for bank in banks:
        if len(bank):
            graph.add_items(bank)
    return graph


def _index(graph: Any, banks: Sequence[Matrix], threads: int | None) -> HnswIndex:
    graph.set_ef(_SEARCH_WIDTH)
    if threads is not None:
        graph.set_num_threads(threads)
    return HnswIndex(graph, nbytes=_graph_bytes(*_shape(banks)))


def _empty(dim: int) -> Any:
    import hnswlib

    return hnswlib.Index(space="ip", dim=dim)


def _shape(banks: Sequence[Matrix]) -> tuple[int, int]:
    return sum(map(len, banks)), banks[0].shape[1]


def _graph_bytes(rows: int, dim: int) -> int:
    """A copy of every row, its links at the lowest level (where all but a few are) and a label."""
    return rows * (4 * dim + 4 * (2 * _LINKS + 1) + 8)
