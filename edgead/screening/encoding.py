"""What is taken from each picture of a batch, and whether the batch is masked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from edgead_runtime import Encoder, Recipe, read_picture
from edgead_runtime.bank import normalize
from edgead_runtime.encoder import PatchFeatures
from edgead_runtime.enrollment import decide_mask
from edgead_runtime.errors import PictureError, RecipeError
from edgead_runtime.images import Frame, frame_digest
from edgead_runtime.manifest import MaskDecision
from edgead_runtime.pipeline import check_fits
from numpy.typing import NDArray

MASK_SAMPLE = 16
"""Pictures, spread evenly over the batch, that the masking test looks at."""


@dataclass(frozen=True, eq=False)
class EncodedPicture:
    """What is kept of a picture once its pixels are let go."""

    digest: str
    """Of its pixels; equal ones are copies."""
    frame_hw: tuple[int, int]
    features: PatchFeatures
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def patches(self) -> NDArray[np.float32]:
        """L2-normalized ``[N, D]``, to be compared with."""
        return normalize(self.features.tokens)


def encode_frame(encoder: Encoder, recipe: Recipe, frame: Frame) -> EncodedPicture:
    """Encode a picture as it was taken; the recipe's turns are for references, and here there are none.

    Args:
        encoder: The encoder.
        recipe: Says which layer; see :func:`check_batch_fits`.
        frame: ``[H, W, 3]`` uint8, BGR.

    Raises:
        RecipeError: The encoder lacks the recipe's layer.
        BundleError: The features are not all finite numbers.
    """
    timings: dict[str, float] = {}
    features = encoder.encode(frame, layers=recipe.layers, timings_ms=timings)
    return EncodedPicture(frame_digest(frame), (frame.shape[0], frame.shape[1]), features, timings)


def patch_shape(encoder: Encoder, recipe: Recipe) -> tuple[int, int]:
    """(N, D) of every picture's patches.

    Raises:
        RecipeError: The recipe does not fit the encoder.
    """
    check_batch_fits(encoder, recipe)
    rows, columns = encoder.manifest.grid
    return rows * columns, encoder.feature_outputs(recipe.layers)[0].dim


def check_batch_fits(encoder: Encoder, recipe: Recipe) -> None:
    """Refuse a recipe that a batch cannot be compared by.

    Raises:
        RecipeError: It does not fit the encoder, or has several layers, an alignment or a subspace.
    """
    only = {"align": "off", "head": "bank"}
    for name, value in only.items():
        if getattr(recipe, name) != value:
            raise RecipeError(
                f"recipe '{recipe.name}' has {name} = '{getattr(recipe, name)}', which pictures that are "
                "compared with each other cannot have",
                f"Add --set {name}={value}, or choose another recipe.",
            )
    check_fits(encoder, recipe)
    layers = [output.layer for output in encoder.feature_outputs(recipe.layers)]
    if len(layers) > 1:
        raise RecipeError(
            f"recipe '{recipe.name}' has several layers, and pictures are compared with each other by one",
            f"Add --set layers=[{layers[-1]}], or choose another recipe.",
        )


def decide_batch_mask(
    encoder: Encoder, recipe: Recipe, paths: Sequence[Path]
) -> tuple[MaskDecision, dict[int, EncodedPicture]]:
    """Decide about the mask, once for the batch, by the test that enrolment makes of its good pictures.

    Args:
        encoder: Its manifest may know the threshold.
        recipe: Asks for ``auto``, ``on`` or ``off``.
        paths: The batch; of it :data:`MASK_SAMPLE` are looked at.

    Returns:
        The decision, and the sampled pictures by their index, which need not be encoded again. None of them
        where there is nothing to decide.
    """
    if recipe.mask == "off":
        return decide_mask(encoder, recipe, (), (0, 0)), {}
    sampled: dict[int, EncodedPicture] = {}
    for index, spread in _sample_order(len(paths)):
        if sampled and not spread:
            break
        # What cannot be read is listed when its turn comes.
        with contextlib.suppress(PictureError):
            sampled[index] = encode_frame(encoder, recipe, read_picture(paths[index]).frame)
    if not sampled:
        reason = "not masked: no picture could be read"
        return MaskDecision(enabled=False, requested=recipe.mask, reason=reason, threshold=None), {}
    distinct = list({picture.digest: picture for picture in sampled.values()}.values())
    features = [picture.features for picture in distinct]
    decision = decide_mask(encoder, recipe, features, distinct[0].frame_hw)
    # The test speaks of references, and the pictures of a batch are none.
    reason = decision.reason.replace("in reference", f"of {len(distinct)} sampled pictures, in number")
    return msgspec.structs.replace(decision, reason=reason), sampled


def _sample_order(pictures: int) -> Iterator[tuple[int, bool]]:
    """Indices, and whether each is one of the sample; then all the others, in case none of it can be read."""
    spread = np.unique(np.linspace(0, pictures - 1, min(pictures, MASK_SAMPLE)).round().astype(int)).tolist()
    yield from ((index, True) for index in spread)
    yield from ((index, False) for index in range(pictures) if index not in spread)
