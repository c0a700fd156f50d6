"""What is taken from each picture of a batch, and whether the batch is masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from edgead_runtime import Encoder, Recipe
from edgead_runtime.bank import normalize
from edgead_runtime.encoder import PatchFeatures
from edgead_runtime.enrollment import decide_mask
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
        recipe: Says which layer.
        frame: ``[H, W, 3]`` uint8, BGR.

    Raises:
        RecipeError: The encoder lacks the recipe's layer.
        BundleError: The features are not all finite numbers.
    """
    timings: dict[str, float] = {}
    features = encoder.encode(frame, layer=recipe.layer, timings_ms=timings)
    return EncodedPicture(frame_digest(frame), (frame.shape[0], frame.shape[1]), features, timings)


def patch_shape(encoder: Encoder, recipe: Recipe) -> tuple[int, int]:
    """(N, D) of every picture's patches.

    Raises:
        RecipeError: The recipe does not fit the encoder.
    """
    check_fits(encoder, recipe)
    rows, columns = encoder.manifest.grid
    return rows * columns, encoder.feature_output(recipe.layer).dim


def sample_order(pictures: int) -> Iterator[tuple[int, bool]]:
    """Which pictures to look at for the mask: index, and whether it is one of the sample.

    After the sample come all the others, for a batch whose sample cannot be read.
    """
    spread = np.unique(np.linspace(0, pictures - 1, min(pictures, MASK_SAMPLE)).round().astype(int)).tolist()
    yield from ((index, True) for index in spread)
    yield from ((index, False) for index in range(pictures) if index not in spread)


def decide_batch_mask(encoder: Encoder, recipe: Recipe, sample: Iterable[EncodedPicture]) -> MaskDecision:
    """Decide about the mask, once for the batch, by the test that enrolment makes of its good pictures.

    Args:
        encoder: Its manifest may know the threshold.
        recipe: Asks for ``auto``, ``on`` or ``off``.
        sample: One picture or more; copies count once.
    """
    distinct: Sequence[EncodedPicture] = list({picture.digest: picture for picture in sample}.values())
    decision = decide_mask(encoder, recipe, [picture.features for picture in distinct])
    # The test speaks of references, and the pictures of a batch are none.
    reason = decision.reason.replace("in reference", f"of {len(distinct)} sampled pictures, in number")
    return msgspec.structs.replace(decision, reason=reason)
