"""Good pictures as a detector remembers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.alignment import Alignment
from edgead_runtime.encoder import PatchFeatures
from edgead_runtime.images import Frame, Picture, frame_digest
from edgead_runtime.recipe import Recipe
from edgead_runtime.subspace import Moments
from edgead_runtime.token_storage import rounded
from edgead_runtime.views import View

Added = Literal["enrollment", "add_good"]
Layers = tuple[NDArray[np.float32], ...]
"""One array a layer of the recipe."""


@dataclass(frozen=True, eq=False)
class Reference:
    """One good picture and what is remembered of it."""

    picture: Picture
    tokens: Layers
    """For each layer the L2-normalized patches ``[V * N, D]`` of the picture's V views: as taken first, then
    as :func:`edgead_runtime.views.views_of` names them. Empty where a subspace is kept."""
    mask: NDArray[np.bool_] | None
    """Patches that count in the picture as taken ``[rows, columns]``, or ``None`` without masking."""
    patches: int
    """N, patches of one picture."""
    frame_hw: tuple[int, int]
    """Size of the picture (height, width)."""
    digest: str
    """Of its pixels, see :func:`edgead_runtime.images.frame_digest`."""
    added: Added = "enrollment"
    moments: tuple[Moments, ...] = ()
    """Of all views, for each layer, where a subspace is kept instead of the patches."""
    kept: tuple[NDArray[np.int32], ...] = ()
    """For each layer which of the V * N patches ``tokens`` has, ascending; empty where it has them all."""
    alignment: Alignment | None = None
    """To the first reference, where the recipe aligns at enrolment and this is not the first."""

    @property
    def nbytes(self) -> int:
        """What it takes to remember it, without the picture."""
        moments = sum(part.total.nbytes + part.products.nbytes for part in self.moments)
        return sum(tokens.nbytes for tokens in self.tokens) + moments

    def is_like(self, other: Reference) -> bool:
        """Whether one of the same encoder and recipe is of the same picture, with as much of it kept."""
        return (
            (self.digest, self.picture.name, self.added) == (other.digest, other.picture.name, other.added)
            and [tokens.shape for tokens in self.tokens] == [tokens.shape for tokens in other.tokens]
            and len(self.kept) == len(other.kept)
            and all(map(np.array_equal, self.kept, other.kept))
        )

    @property
    def as_taken(self) -> Layers:
        """The patches of the picture as it was taken, ``[N, D]`` a layer.

        Raises:
            ValueError: Not all of them are kept.
        """
        if self.kept or not self.tokens:
            raise ValueError("not all patches are kept")
        return tuple(tokens[: self.patches] for tokens in self.tokens)


def normalize(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalize rows; a zero row stays zero."""
    norms = np.linalg.norm(tokens, axis=1, keepdims=True)
    normalized: NDArray[np.float32] = tokens / np.maximum(norms, np.float32(1e-12))
    return normalized


def embed_views(
    frame: Frame,
    as_taken: Layers,
    views: tuple[View, ...],
    encode: Callable[[Frame], PatchFeatures],
) -> Layers:
    """Encode a picture in every view.

    Args:
        frame: The picture.
        as_taken: Its L2-normalized patches ``[N, D]`` a layer.
        views: The first is the picture as taken.
        encode: The encoder.

    Returns:
        L2-normalized ``[V * N, D]`` a layer.
    """
    # Made one at a time: all turns of a large frame at once would be hundreds of megabytes.
    embedded = [
        as_taken if view.is_as_taken else tuple(map(normalize, encode(view.make(frame)).layers))
        for view in views
    ]
    return tuple(np.concatenate(of_layer) for of_layer in zip(*embedded, strict=True))


def embed_reference(
    picture: Picture,
    as_taken: PatchFeatures,
    encode: Callable[[Frame], PatchFeatures],
    recipe: Recipe,
    views: tuple[View, ...],
    *,
    mask: NDArray[np.bool_] | None,
    alignment: Alignment | None,
    added: Added,
) -> Reference:
    """Remember a picture.

    Args:
        picture: The good picture.
        as_taken: Its features without rotation.
        encode: The encoder.
        recipe: Says what is kept of it.
        views: From :func:`edgead_runtime.views.views_of`.
        mask: Mask of the picture as taken ``[rows, columns]``, where masking is on.
        alignment: To the first reference, where there is one.
        added: When the picture came in.
    """
    frame = picture.frame
    tokens = embed_views(frame, tuple(map(normalize, as_taken.layers)), views, encode)
    keep_tokens = recipe.head == "bank"
    return Reference(
        picture=picture.stored(),
        tokens=tuple(rounded(of_layer, recipe.keep_as) for of_layer in tokens) if keep_tokens else (),
        moments=() if keep_tokens else tuple(map(Moments.of, tokens)),
        mask=mask,
        patches=len(as_taken.tokens),
        frame_hw=(frame.shape[0], frame.shape[1]),
        digest=frame_digest(frame),
        alignment=alignment,
        added=added,
    )
