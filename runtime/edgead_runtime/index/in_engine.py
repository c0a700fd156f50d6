"""Exact search as a small graph of its own, in the engine that the encoder runs in.

For what the frame graph does not do (several layers, k neighbours, the worst references, the mean over
views), and where NumPy's threads would get in the way of the encoder's, or the bank shall lie on the GPU. The
reductions over views and references stay where they are, in :mod:`edgead_runtime.memory`.

===============  ============  ============================================================
input            shape         what
===============  ============  ============================================================
search_queries   ``[Q, D]``    L2-normalized patches of a frame
search_rows      ``[M, D]``    L2-normalized rows of a bank
===============  ============  ============================================================

The output ``similarities`` ``[Q, k]`` has the k largest of each query's, in any order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from edgead_runtime.engines.protocol import Array, Engine, Uploaded
from edgead_runtime.errors import BundleError
from edgead_runtime.index.protocol import Matrix
from edgead_runtime.onnx_bytes import floats, int64s, model, node, output_shape

QUERIES = "search_queries"
ROWS = "search_rows"
SIMILARITIES = "similarities"

QUERIES_AT_ONCE = 1024
ROWS_AT_ONCE = 8192
"""A run has 32 MB of similarities, however large the bank is."""
LEAST_ROWS = 32
"""Fewer are compared without an engine: one is built for a range, and some do not like to begin at 1."""

OpenSearch = Callable[[int, int], Engine]
"""From features' size and k to an engine that runs :func:`search_graph` of them."""


@functools.lru_cache
def search_graph(dim: int, neighbours: int) -> bytes:
    """The graph as an ONNX file.

    Args:
        dim: Size D of a feature.
        neighbours: k.
    """
    products = [node("Transpose", [ROWS], ["columns"], perm=[1, 0])]
    products.append(node("MatMul", [QUERIES, "columns"], ["all_similarities"]))
    constants = []
    if neighbours == 1:
        products.append(node("ReduceMax", ["all_similarities"], [SIMILARITIES], axes=[1], keepdims=1))
    else:
        constants.append(int64s("neighbours", [neighbours]))
        outputs = [SIMILARITIES, "places"]
        products.append(node("TopK", ["all_similarities", "neighbours"], outputs, axis=1, sorted=0))
    inputs = [floats(QUERIES, ["queries", dim]), floats(ROWS, ["rows", dim])]
    return model("edgead-search", products, constants, inputs, floats(SIMILARITIES, ["queries", neighbours]))


def neighbours_of(graph: bytes) -> int | None:
    """How many neighbours a graph gives that was made by :func:`search_graph`; ``None`` for another."""
    try:
        shape = output_shape(graph, SIMILARITIES)
        return shape[-1] if shape else None
    except BundleError:
        return None


class EngineSearch:
    """Searches banks in an engine. What it puts there stays as long as it: it belongs to one memory."""

    def __init__(self, open_engine: OpenSearch) -> None:
        self._open_engine = open_engine
        self._uploaded: dict[tuple[int, int], tuple[Matrix, Uploaded]] = {}
        """By place in memory; the rows are held, so that nothing else takes that place."""

    def nearest_distances(self, queries: Matrix, banks: Sequence[Matrix], neighbours: int = 1) -> Matrix:
        """See :func:`edgead_runtime.index.nearest_distances`.

        Raises:
            ValueError: ``banks`` is empty.
        """
        if not any(map(len, banks)):
            raise ValueError("nothing to search in")
        queries = np.ascontiguousarray(queries)
        engine = self._open_engine(queries.shape[1], neighbours)
        found = [
            self._of_part(engine, queries[start : start + QUERIES_AT_ONCE], banks, neighbours)
            for start in range(0, len(queries), QUERIES_AT_ONCE)
        ]
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def _of_part(self, engine: Engine, queries: Matrix, banks: Sequence[Matrix], neighbours: int) -> Matrix:
        best = np.zeros((len(queries), 0), np.float32)
        for bank in banks:
            for rows in _parts(bank):
                if len(rows) < max(LEAST_ROWS, neighbours):
                    found = queries @ rows.T
                else:
                    feeds: dict[str, Array | Uploaded] = {
                        QUERIES: queries,
                        ROWS: self._uploaded_rows(engine, rows),
                    }
                    found = engine.run(feeds, [SIMILARITIES])[SIMILARITIES].astype(np.float32, copy=False)
                best = _largest(np.concatenate([best, found], axis=1), neighbours)
        return np.asarray(np.clip(1 - best, 0, 2).mean(axis=1), dtype=np.float32)

    def _uploaded_rows(self, engine: Engine, rows: Matrix) -> Uploaded:
        key = rows.ctypes.data, len(rows)
        known = self._uploaded.get(key)
        if known is None:
            known = self._uploaded[key] = rows, engine.upload(rows)
        return known[1]


def _parts(bank: Matrix) -> list[Matrix]:
    """Equal parts of a bank, none larger than a run takes."""
    bank = np.ascontiguousarray(bank)
    count = -(-len(bank) // ROWS_AT_ONCE)
    return [] if not count else list(np.array_split(bank, count))


def _largest(similarities: Matrix, count: int) -> Matrix:
    """The ``count`` largest of every row, in any order."""
    if similarities.shape[1] <= count:
        return similarities
    if count == 1:
        return np.asarray(similarities.max(axis=1, keepdims=True), dtype=np.float32)
    place = similarities.shape[1] - count
    return np.asarray(np.partition(similarities, place, axis=1)[:, place:], dtype=np.float32)
