"""Making exact what the image score depends on, after a search that may have missed the nearest.

A search that misses the nearest good patch gives too large a distance, so a miss looks like a defect: among a
thousand patches a few misses are all it takes, however good the recall is. But the image score is made from
the largest distances alone, and no distance is too small. So the largest are searched for again, exactly,
until those that the score is made from are all exact. The rest may still be too large, and are no larger than
those: their exact values would not be among the largest either. Fagin, Lotem and Naor (PODS 2001) end their
threshold algorithm by the same argument.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.bank import Layers
from edgead_runtime.patch_distances import PatchDistances

_MORE = 0.8
"""As a share of what the score is made from: settled along with it, which saves a second round."""


def settle(
    found: Layers,
    *,
    count: int,
    exactly: Callable[[NDArray[np.intp]], Layers],
    combine: Callable[[Layers], PatchDistances],
) -> PatchDistances:
    """Distances whose ``count`` largest (for the score) are exact.

    Args:
        found: ``[N]`` a layer, none smaller than it is.
        count: How many of the largest count.
        exactly: Distances of the patches with these numbers, ``[n]`` a layer.
        combine: From layers to one distance a patch, masked; grows with each of them.
    """
    found = tuple(distances.copy() for distances in found)
    settled = np.zeros(len(found[0]), dtype=np.bool_)
    while True:
        combined = combine(found)
        largest = np.argsort(-combined.for_score.ravel(), kind="stable")
        # What is 0 cannot become smaller: patches outside a mask.
        open_ = largest[~settled[largest] & (combined.for_score.ravel()[largest] > 0)]
        if not np.isin(open_, largest[:count]).any():
            return combined
        chosen = open_[: count + int(_MORE * count)]
        for distances, exact in zip(found, exactly(chosen), strict=True):
            # Where rounding alone differs, the smaller stays.
            distances[chosen] = np.minimum(distances[chosen], exact)
        settled[chosen] = True
