"""The memory bank: the patches of every good picture, reference by reference.

Each reference keeps a token matrix of its own. A search runs over the list with a running minimum, so a
good part is added without copying what is there, removed by dropping it, and left out for calibration by
skipping it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.encoder import PatchFeatures
from edgead_runtime.images import Frame, Picture, frame_digest
from edgead_runtime.index import nearest_distances
from edgead_runtime.recipe import Flip, Recipe

Added = Literal["enrollment", "add_good"]


@dataclass(frozen=True, eq=False)
class Reference:
    """One good picture and what the bank holds of it."""

    picture: Picture
    tokens: NDArray[np.float32]
    """L2-normalized patches ``[R * N, D]``: the picture as taken first, then its rotations."""
    mask: NDArray[np.bool_] | None
    """Patches that count in the picture as taken ``[rows, columns]``, or ``None`` without masking."""
    patches: int
    """N, patches of one picture."""
    frame_hw: tuple[int, int]
    """Size of the picture (height, width)."""
    digest: str
    """Of its pixels, see :func:`edgead_runtime.images.frame_digest`."""
    added: Added = "enrollment"

    @property
    def unrotated(self) -> NDArray[np.float32]:
        """The patches of the picture as it was taken ``[N, D]``."""
        return self.tokens[: self.patches]


def normalize(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalize rows; a zero row stays zero."""
    norms = np.linalg.norm(tokens, axis=1, keepdims=True)
    normalized: NDArray[np.float32] = tokens / np.maximum(norms, np.float32(1e-12))
    return normalized


def rotate(frame: Frame, degrees: float) -> Frame:
    """Turn a frame about its centre, canvas unchanged, borders reflected.

    Source: AnomalyDINO's release: bilinear, scale 1, about (w/2, h/2), reflect-101, on the raw frame.
    """
    if degrees == 0:
        return frame
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(
        frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(turned, dtype=np.uint8)


def mirror(frame: Frame, flip: Flip) -> Frame:
    """A frame with left and right (``horizontal``) or top and bottom (``vertical``) swapped."""
    return np.ascontiguousarray(frame[:, ::-1] if flip == "horizontal" else frame[::-1])


def embed_reference(
    picture: Picture,
    as_taken: PatchFeatures,
    encode: Callable[[Frame], PatchFeatures],
    recipe: Recipe,
    mask: NDArray[np.bool_] | None,
    *,
    added: Added,
) -> Reference:
    """Encode a picture in every further view.

    Args:
        picture: The good picture.
        as_taken: Its features without rotation.
        encode: The encoder.
        recipe: Says which rotations and flips.
        mask: Mask of the picture as taken ``[rows, columns]``, where masking is on.
        added: When the picture came in.
    """
    frame = picture.frame
    # Made one at a time: all turns of a large frame at once would be hundreds of megabytes.
    views = chain(
        (rotate(frame, degrees) for degrees in recipe.rotations_deg[1:]),
        (mirror(frame, flip) for flip in recipe.flips),
    )
    return Reference(
        picture=picture.stored(),
        tokens=normalize(np.concatenate([as_taken.tokens, *(encode(view).tokens for view in views)])),
        mask=mask,
        patches=len(as_taken.tokens),
        frame_hw=(frame.shape[0], frame.shape[1]),
        digest=frame_digest(frame),
        added=added,
    )


def search(
    tokens: NDArray[np.float32],
    references: Sequence[Reference],
    recipe: Recipe,
    *,
    leave_out: int | None = None,
) -> NDArray[np.float32]:
    """Distance of every patch to the bank, by the recipe's neighbours, reduction and scale.

    Args:
        tokens: L2-normalized ``[N, D]``.
        references: The bank.
        recipe: The method.
        leave_out: Index of a reference to skip.

    Returns:
        ``[N]`` distances.
    """
    banks = [reference.tokens for index, reference in enumerate(references) if index != leave_out]
    if recipe.reduction == "nearest":
        distances = nearest_distances(tokens, banks, recipe.neighbours)
    else:
        # PatchEAD, "patch score": the mean over the K references that the patch is farthest from.
        each = np.stack([nearest_distances(tokens, [bank], recipe.neighbours) for bank in banks])
        worst = max(1, round(recipe.worst_share * len(banks)))
        distances = np.sort(each, axis=0)[-worst:].mean(axis=0)
    return scale(distances, recipe)


def scale(distances: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    """Cosine distances in the recipe's scale."""
    return distances if recipe.distance == "cosine" else distances * np.float32(0.5)
