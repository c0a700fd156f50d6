"""From patch distances to an image score.

Source: AnomalyDINO, section 3.3: the mean of the largest 1 % of the patch distances, an empirical tail
value at risk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def image_score(distances: NDArray[np.float32], top_fraction: float) -> float:
    """Mean of the top ``int(top_fraction * N)`` distances, or the maximum where that is 0.

    Args:
        distances: Any shape, N values; ignored patches are 0 and stay in N.
        top_fraction: Share of N, in (0, 1].
    """
    flat = distances.ravel()
    count = max(int(top_fraction * flat.size), 1)
    if count == flat.size:
        return float(flat.mean())
    return float(np.partition(flat, flat.size - count)[flat.size - count :].mean())
