"""The subspace that normal patches span, as a memory of a few hundred kilobytes.

In place of a bank: what a patch has outside the principal components of the normal patches is its distance.
Each good picture is kept as the moments of its patches, which add up, so that one more is added, or one left
out for calibration, without looking at the others again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, sum and sum of outer products of patches."""

    count: int
    total: NDArray[np.float32]
    """``[D]``."""
    products: NDArray[np.float32]
    """Upper triangle of the sum of outer products, row by row ``[D (D + 1) / 2]``."""

    @classmethod
    def of(cls, tokens: NDArray[np.float32]) -> Moments:
        """The moments of L2-normalized patches ``[N, D]``."""
        # Summed in double precision: single would lose the small components, which are what matters here.
        exact = tokens.astype(np.float64)
        products = exact.T @ exact
        return cls(
            count=len(tokens),
            total=exact.sum(axis=0).astype(np.float32),
            products=products[np.triu_indices(len(products))].astype(np.float32),
        )


@dataclass(frozen=True, eq=False)
class Subspace:
    """Where normal patches lie."""

    mean: NDArray[np.float32]
    """``[D]``."""
    components: NDArray[np.float32]
    """Orthonormal rows ``[K, D]``, of the largest variance first."""

    @classmethod
    def fit(cls, moments: Sequence[Moments], components: int) -> Subspace:
        """The subspace of the largest principal components.

        Args:
            moments: Of every good picture; at least one.
            components: How many; no more are kept than features have dimensions.
        """
        count = sum(part.count for part in moments)
        mean = np.stack([part.total for part in moments]).sum(axis=0, dtype=np.float64) / count
        packed = np.stack([part.products for part in moments]).sum(axis=0, dtype=np.float64) / count
        covariance = np.zeros((len(mean), len(mean)))
        covariance[np.triu_indices(len(mean))] = packed
        covariance = np.triu(covariance) + np.triu(covariance, 1).T - np.outer(mean, mean)
        _, vectors = np.linalg.eigh(covariance)
        largest = np.ascontiguousarray(vectors[:, ::-1][:, :components].T)
        return cls(mean.astype(np.float32), largest.astype(np.float32))

    def distances(self, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        """Half the squared length of what patches have outside the subspace.

        Half, since between unit vectors half the squared distance is the cosine distance: the subspace's
        distances are of the scale of a bank's.

        Args:
            tokens: L2-normalized ``[N, D]``.

        Returns:
            ``[N]``, in [0, 2].
        """
        centred = tokens - self.mean
        inside = centred @ self.components.T
        squared = np.einsum("nd,nd->n", centred, centred) - np.einsum("nk,nk->n", inside, inside)
        return np.asarray(np.clip(squared / 2, 0, 2), dtype=np.float32)
