"""From patch distances to an image score.

Source: AnomalyDINO, section 3.3: the mean of the largest 1 % of the patch distances, an empirical tail
value at risk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.recipe import Statistic


def scored_count(patches: int, top_fraction: float, statistic: Statistic) -> int:
    """How many of the largest distances the image score depends on."""
    if statistic == "max":
        return 1
    if statistic == "quantile":
        # Interpolated between two neighbours in the order; counted from the top, the lower one is in.
        return min(patches, patches - int(np.floor((1 - top_fraction) * (patches - 1))))
    return max(int(top_fraction * patches), 1)


def image_score(
    distances: NDArray[np.float32], top_fraction: float, statistic: Statistic = "top-mean"
) -> float:
    """Make one number from the patch distances.

    Args:
        distances: Any shape, N values; ignored patches are 0 and stay in N.
        top_fraction: Share of N, in (0, 1].
        statistic: ``top-mean``: mean of the top ``int(top_fraction * N)``, at least one; ``quantile``: the
            distance that this share exceeds; ``max``: the largest.
    """
    flat = distances.ravel()
    if statistic == "max":
        return float(flat.max())
    if statistic == "quantile":
        return float(np.quantile(flat, 1 - top_fraction))
    count = scored_count(flat.size, top_fraction, statistic)
    if count == flat.size:
        return float(flat.mean())
    return float(np.partition(flat, flat.size - count)[flat.size - count :].mean())


def mean_distance(distances: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> float:
    """Mean patch distance of what counts in full: how far a part is from good ones as a whole.

    Args:
        distances: ``[rows, columns]``.
        mask: Of the same shape, or ``None`` where nothing is masked.
    """
    counted = distances if mask is None else distances[mask]
    return float(counted.mean()) if counted.size else 0.0
