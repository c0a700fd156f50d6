"""What a detector knows of good parts, and how far a patch is from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.bank import Layers, Reference
from edgead_runtime.coreset import condense, condense_added, density, is_condensed, taken_back
from edgead_runtime.errors import EnrollmentError
from edgead_runtime.index import EngineSearch, GrowingIndex, SearchIndex, create_index, nearest_distances
from edgead_runtime.index.in_engine import OpenSearch
from edgead_runtime.manifest import CoresetRecord
from edgead_runtime.recipe import Recipe
from edgead_runtime.subspace import Subspace

Nearest = Callable[[NDArray[np.float32], Sequence[NDArray[np.float32]], int], NDArray[np.float32]]
"""As :func:`edgead_runtime.index.nearest_distances`: queries, banks, neighbours to distances."""


@dataclass(frozen=True, eq=False)
class Memory:
    """The good pictures and the recipe's way of comparing with them. Immutable."""

    references: tuple[Reference, ...]
    recipe: Recipe
    coreset: tuple[CoresetRecord, ...] = ()
    """For each layer what is left out and guaranteed; empty where all patches are kept."""
    indexes: tuple[SearchIndex, ...] = ()
    """For each layer what it is searched with; empty where all of it is. Whatever changes the references
    drops them, and :meth:`searched_like` brings them back: what is left out in turn is compared exactly."""
    search: OpenSearch | None = None
    """Opens the engine that exact search runs in; ``None``: NumPy."""

    @property
    def is_exact(self) -> bool:
        """Whether :meth:`distances` are those to the nearest, without exception."""
        return all(index.exact for index in self.indexes)

    @property
    def rows(self) -> int:
        """Patches that are kept of the last layer."""
        return sum(len(reference.tokens[-1]) for reference in self.references if reference.tokens)

    @property
    def size(self) -> int:
        """Patches of the last layer that it is made of: those that are kept, or that a subspace sums up."""
        return sum(map(size_of, self.references))

    def of(self, references: Sequence[Reference]) -> Memory:
        """The same recipe's memory of other references, searched exactly."""
        return replace(self, references=tuple(references), indexes=())

    def exactly(self) -> Memory:
        """The same, searched exactly."""
        return self.of(self.references)

    def searched_with(self, index: str, threads: int | None = None, *, keep: bool = False) -> Memory:
        """The same, searched with an index; see :func:`edgead_runtime.index.create_index`."""
        layers = zip(*(reference.tokens for reference in self.references), strict=True)
        return replace(
            self, indexes=tuple(create_index(index, banks, threads, keep=keep) for banks in layers)
        )

    def searched_like(self, before: Memory) -> Memory:
        """The same, searched as the memory that it came from by adding or taking back."""
        if before.is_exact:
            return replace(self, search=before.search)
        layers = zip(*(reference.tokens for reference in self.references), strict=True)
        found = []
        for index, banks in zip(before.indexes, layers, strict=True):
            if not isinstance(index, GrowingIndex):
                raise TypeError("an approximate index must be able to grow")
            found.append(index.following(banks))
        return replace(self, indexes=tuple(found), search=before.search)

    @cached_property
    def condensed(self) -> Memory:
        """With the patches alone that the recipe keeps; of a memory that has them all."""
        if not is_condensed(self.recipe):
            return self
        references, coreset = condense(self.references, self.recipe)
        return replace(self.of(references), coreset=coreset)

    def condensed_like(self, bank: Memory) -> Memory:
        """With as large a share of the patches as another memory keeps; of one that has them all."""
        if not bank.coreset:
            return self
        shares = density(bank.references, bank.coreset, self.recipe)
        references, coreset = condense(self.references, self.recipe, shares)
        return replace(self.of(references), coreset=coreset)

    def adding(self, reference: Reference, most: int | None = None) -> Memory:
        """With one good picture more. Nothing is copied, unless a coreset has to be thinned.

        Args:
            reference: With all its patches.
            most: Patches of a layer that there may be: a coreset is thinned to fewer, any other bank is full.

        Raises:
            EnrollmentError: The bank is full; or what was enrolled leaves a coreset no room below ``most``.
        """
        if self.coreset:
            if most is not None:
                self._check_room(most)
            references, coreset = condense_added(self.references, reference, self.coreset, self.recipe, most)
            return replace(self.of(references), coreset=coreset)
        memory = self.of((*self.references, reference))
        if most is not None and memory.size > most:
            raise EnrollmentError(
                f"the bank is full: with this picture it would have {memory.size:,} patches, and its limit "
                f"is {most:,}",
                "Take back what is not needed, raise bank_limit, or enrol with --coreset, which is thinned.",
            )
        return memory

    def _check_room(self, most: int) -> None:
        enrolled = [reference for reference in self.references if reference.added == "enrollment"]
        rows = max(sum(map(len, layer)) for layer in zip(*(each.tokens for each in enrolled), strict=True))
        if rows >= most:
            raise EnrollmentError(
                f"the {rows:,} patches that were enrolled leave no room below the bank's limit of {most:,}",
                "Raise bank_limit, or enrol with a smaller --coreset.",
            )

    def without(self, index: int) -> Memory:
        """With one good picture less: leaving it out for calibration, or taking it back."""
        rest = self.of((*self.references[:index], *self.references[index + 1 :]))
        if not self.coreset:
            return rest
        return replace(rest, coreset=taken_back(rest.references, self.coreset, self.recipe))

    def distances(self, queries: Layers) -> Layers:
        """Distance of every patch to the good parts, in the recipe's scale.

        Args:
            queries: L2-normalized ``[N, D]`` a layer.

        Returns:
            ``[N]`` a layer; of an approximate index they are too large where it missed the nearest.
        """
        if self.recipe.head == "subspace":
            found = tuple(
                subspace.distances(tokens) for subspace, tokens in zip(self._subspaces, queries, strict=True)
            )
        elif self.indexes:
            found = tuple(index.nearest(tokens) for index, tokens in zip(self.indexes, queries, strict=True))
        else:
            found = tuple(
                bank_distances(
                    tokens,
                    [reference.tokens[layer] for reference in self.references],
                    self.references[0].patches,
                    self.recipe,
                    self._nearest,
                )
                for layer, tokens in enumerate(queries)
            )
        return tuple(scale(distances, self.recipe) for distances in found)

    @cached_property
    def _nearest(self) -> Nearest:
        return nearest_distances if self.search is None else EngineSearch(self.search).nearest_distances

    @cached_property
    def _subspaces(self) -> tuple[Subspace, ...]:
        layers = zip(*(reference.moments for reference in self.references), strict=True)
        return tuple(Subspace.fit(moments, self.recipe.subspace_components) for moments in layers)


def size_of(reference: Reference) -> int:
    """Patches of the last layer that are kept of a picture, or that its moments are of."""
    return len(reference.tokens[-1]) if reference.tokens else reference.moments[-1].count


def bank_distances(
    tokens: NDArray[np.float32],
    banks: Sequence[NDArray[np.float32]],
    patches: int,
    recipe: Recipe,
    nearest: Nearest = nearest_distances,
) -> NDArray[np.float32]:
    """Cosine distance of every patch to a bank, by the recipe's neighbours and reductions.

    Args:
        tokens: L2-normalized ``[N, D]``.
        banks: L2-normalized ``[V * patches, D]`` for every reference, view by view.
        patches: Patches of one view.
        recipe: The method.
        nearest: How each part is searched.

    Returns:
        ``[N]``.
    """
    if recipe.reduction == "nearest" and recipe.view_reduction == "nearest":
        return nearest(tokens, banks, recipe.neighbours)
    each = np.stack([_to_reference(tokens, bank, patches, recipe, nearest) for bank in banks])
    if recipe.reduction == "nearest":
        return np.asarray(each.min(axis=0), dtype=np.float32)
    # PatchEAD, "patch score": the mean over the K references that the patch is farthest from.
    worst = recipe.worst_count or max(1, round(recipe.worst_share * len(banks)))
    return np.asarray(np.sort(each, axis=0)[-worst:].mean(axis=0), dtype=np.float32)


def _to_reference(
    tokens: NDArray[np.float32], bank: NDArray[np.float32], patches: int, recipe: Recipe, nearest: Nearest
) -> NDArray[np.float32]:
    if recipe.view_reduction == "nearest":
        return nearest(tokens, [bank], recipe.neighbours)
    views = [bank[start : start + patches] for start in range(0, len(bank), patches)]
    each = [nearest(tokens, [view], recipe.neighbours) for view in views]
    return np.asarray(np.mean(each, axis=0), dtype=np.float32)


def scale(distances: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Cosine distances in the recipe's scale."""
    return distances if recipe.distance == "cosine" else distances * np.float32(0.5)
