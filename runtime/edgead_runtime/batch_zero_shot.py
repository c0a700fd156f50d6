"""Batched zero-shot: a picture against all the others of its batch, with no reference at all.

Every patch of one picture is compared with every patch of the others, a few pictures at a time, so that
memory does not grow with the batch. For N patches of D values, n pictures, rank r = share * N * (n - 1) and
b = max(1, :data:`SIMILARITIES` / N^2) pictures a block, the arrays that are alive at once hold at most

    b N D + 3 b N^2 + 4 N (r + max(r, 64))      values of 4 bytes:

one block of patches, its similarities with what is picked from them, and the closest ones so far with their
successor. ``worst-references`` has n N in the place of the last term. Where more than :data:`KEPT` would be
kept, a quarter of that term, the picture's patches are taken in several turns.

Which similarities there are decides the result and not the order they come in: other block sizes give the
same distances, up to the rounding of the matrix products themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.memory import scale
from edgead_runtime.recipe import Recipe

SIMILARITIES = 4 << 20
"""Similarities that are looked at together: enough for the BLAS to run at full speed."""
KEPT = 64 << 20
"""Similarities that are kept for the patches of one turn."""

_SPARE = 64
_DENSE = 8
"""From one candidate in so many on, sorting is cheaper than picking."""

Floats = NDArray[np.float32]


class BatchTokens(Protocol):
    """L2-normalized patches of a batch ``[pictures, N, D]``: an array, or a file that is read in parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(pictures, N, D)."""
        ...

    def __getitem__(self, part: slice, /) -> Floats:
        """Some pictures ``[count, N, D]``."""
        ...


def batch_distances(
    tokens: BatchTokens,
    index: int,
    recipe: Recipe,
    *,
    wanted: NDArray[np.bool_] | None = None,
    similarities: int = SIMILARITIES,
) -> Floats:
    """Distances of one picture's patches to all the other pictures, by the recipe's rule and scale.

    ``closest-share`` (AnomalyDINO, release): of the distances to all M patches of the others, q is the
    ``int(share * M)``-th smallest, at least the first; the mean of those strictly below q, or q where there
    are none. ``worst-references`` (PatchEAD, "patch score"): of the distances to the closest patch (the
    recipe's ``neighbours`` closest) of each other picture, the mean over the ``round(share * (n - 1))``
    largest, at least one.

    Args:
        tokens: The batch; two pictures or more.
        index: Which picture.
        recipe: The method.
        wanted: Patches to compare ``[N]``; the others get 0. ``None``: all.
        similarities: How many to look at together; decides memory and speed, not the result.

    Returns:
        ``[N]``, not masked.

    Raises:
        ValueError: There is no other picture.
    """
    pictures, patches, _ = tokens.shape
    if pictures < 2:
        raise ValueError("a batch needs two pictures or more")
    query = tokens[index : index + 1][0]
    chosen = np.arange(patches) if wanted is None else np.flatnonzero(wanted)
    rule = _RULES[recipe.batch_rule]
    block = max(1, similarities // patches**2)
    turn = max(1, min(similarities // (block * patches), KEPT // rule.kept(pictures - 1, patches, recipe)))
    distances = np.zeros(patches, dtype=np.float32)
    for start in range(0, len(chosen), turn):
        rows = chosen[start : start + turn]
        closest = rule(len(rows), pictures - 1, patches, recipe)
        for others in _others(tokens, index, block):
            closest.add(query[rows] @ others.reshape(-1, others.shape[2]).T)
        distances[rows] = closest.distances()
    return scale(distances, recipe)


def _others(tokens: BatchTokens, index: int, block: int) -> Iterator[Floats]:
    """All pictures but one ``[count, N, D]``, ``block`` at a time."""
    for first, end in ((0, index), (index + 1, tokens.shape[0])):
        for start in range(first, end, block):
            yield tokens[start : min(start + block, end)]


class _Rule(Protocol):
    """Takes in similarities block by block and makes a distance of them."""

    def __init__(self, queries: int, others: int, patches: int, recipe: Recipe) -> None: ...

    @staticmethod
    def kept(others: int, patches: int, recipe: Recipe) -> int:
        """Values that are kept for each patch."""
        ...

    def add(self, similarities: Floats) -> None:
        """Take in ``[queries, pictures * N]`` of further pictures."""
        ...

    def distances(self) -> Floats:
        """``[queries]``, cosine."""
        ...


class _ClosestShare:
    """The largest similarities of each patch, in a buffer with room for more.

    Once a patch has as many as it needs, its smallest is a bound: what is not above it can be left out, and
    after the first few pictures that is nearly everything. What is above is appended; a full row is sorted
    out together with the block at hand, and its bound rises.
    """

    def __init__(self, queries: int, others: int, patches: int, recipe: Recipe) -> None:
        self._rank = self._needed(others, patches, recipe)
        self._capacity = self.kept(others, patches, recipe)
        self._kept = np.full((queries, self._capacity), -np.inf, dtype=np.float32)
        self._filled = np.zeros(queries, dtype=np.intp)
        self._bound = np.full((queries, 1), -np.inf, dtype=np.float32)

    @staticmethod
    def _needed(others: int, patches: int, recipe: Recipe) -> int:
        return max(1, int(recipe.batch_share * (others * patches)))

    @classmethod
    def kept(cls, others: int, patches: int, recipe: Recipe) -> int:
        rank = cls._needed(others, patches, recipe)
        return rank + max(rank, _SPARE)

    def add(self, similarities: Floats) -> None:
        # One equal to the bound would not change which values the largest are.
        candidates = similarities > self._bound
        if np.count_nonzero(candidates) * _DENSE > candidates.size:
            self._sort_out(np.arange(len(similarities)), similarities)
            return
        picked = np.flatnonzero(candidates)
        rows = picked // similarities.shape[1]
        counts = np.bincount(rows, minlength=len(similarities))
        full = self._filled + counts > self._capacity
        if full.any():
            self._sort_out(np.flatnonzero(full), similarities[full])
            fits = ~full[rows]
            picked, rows = picked[fits], rows[fits]
            counts[full] = 0
        places = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows] + self._filled[rows]
        self._kept[rows, places] = similarities.ravel()[picked]
        self._filled += counts

    def _sort_out(self, rows: NDArray[np.intp], similarities: Floats) -> None:
        """Keep the largest of what is kept in these rows and ``similarities``; raise their bounds."""
        merged = np.concatenate([self._kept[rows], similarities], axis=1)
        merged.partition(merged.shape[1] - self._rank, axis=1)
        self._kept[rows, : self._rank] = merged[:, -self._rank :]
        self._kept[rows, self._rank :] = -np.inf
        self._filled[rows] = self._rank
        self._bound[rows, 0] = merged[:, -self._rank]

    def distances(self) -> Floats:
        self._kept.partition(self._capacity - self._rank, axis=1)
        # Sorted, so that the sum does not depend on the order they came in.
        nearest = np.sort(np.clip(1 - self._kept[:, -self._rank :], 0, 2), axis=1)
        limit = nearest[:, -1:]
        below = nearest < limit
        counts = below.sum(axis=1)
        sums = np.where(below, nearest, 0).sum(axis=1, dtype=np.float64)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), limit[:, 0])
        return np.asarray(means, dtype=np.float32)


class _WorstReferences:
    """The closest patch of every other picture."""

    def __init__(self, queries: int, others: int, patches: int, recipe: Recipe) -> None:
        self._each = np.empty((queries, others), dtype=np.float32)
        self._patches = patches
        self._neighbours = min(recipe.neighbours, patches)
        self._worst = max(1, round(recipe.batch_share * others))
        self._done = 0

    @staticmethod
    def kept(others: int, patches: int, recipe: Recipe) -> int:
        return others

    def add(self, similarities: Floats) -> None:
        by_picture = similarities.reshape(len(similarities), -1, self._patches)
        if self._neighbours == 1:
            found = np.clip(1 - by_picture.max(axis=2), 0, 2)
        else:
            by_picture.partition(self._patches - self._neighbours, axis=2)
            closest = np.sort(by_picture[:, :, -self._neighbours :], axis=2)
            found = np.clip(1 - closest, 0, 2).mean(axis=2, dtype=np.float64)
        end = self._done + by_picture.shape[1]
        self._each[:, self._done : end] = found
        self._done = end

    def distances(self) -> Floats:
        self._each.partition(self._each.shape[1] - self._worst, axis=1)
        farthest = np.sort(self._each[:, -self._worst :], axis=1)
        return np.asarray(farthest.mean(axis=1, dtype=np.float64), dtype=np.float32)


_RULES: dict[str, type[_Rule]] = {"closest-share": _ClosestShare, "worst-references": _WorstReferences}
