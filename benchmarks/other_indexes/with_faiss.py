"""faiss, IVF-Flat: the same method as the runtime's clusters, with as many rows a cluster and probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from edgead_runtime.index import clusters
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class FaissIndex:
    """An inverted file of float32 rows."""

    exact = False
    index: Any
    nbytes: int

    def nearest(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances to the nearest row in the clusters searched."""
        similarities, _ = self.index.search(queries, 1)
        return np.clip(1 - similarities[:, 0], 0, 2).astype(np.float32)


def build(banks: Sequence[NDArray[np.float32]], _threads: int | None = None) -> FaissIndex:
    """Train and fill."""
    rows = np.ascontiguousarray(np.concatenate(banks))
    count = max(1, len(rows) // clusters.ROWS_PER_CLUSTER)
    index = faiss.index_factory(rows.shape[1], f"IVF{count},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    index.nprobe = 8
    return FaissIndex(index, rows.nbytes)
