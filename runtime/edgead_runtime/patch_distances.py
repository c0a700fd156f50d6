"""One distance a patch of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PatchDistances:
    """Distances ``[rows, columns]`` of a picture with ignored patches 0, or damped as the recipe says.

    The two differ only where a recipe of several layers scores with the last one alone.
    """

    for_map: NDArray[np.float32]
    for_score: NDArray[np.float32]

    @classmethod
    def alike(cls, distances: NDArray[np.float32]) -> PatchDistances:
        """The same for both."""
        return cls(distances, distances)
