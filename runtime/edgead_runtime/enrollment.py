"""From good pictures to a bank, a mask decision and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.areas import area_to_rows, drawn_area
from edgead_runtime.bank import Layers
from edgead_runtime.calibration import (
    calibrate,
    check_rate,
    guess_from_self_similarity,
)
from edgead_runtime.coreset import is_condensed
from edgead_runtime.encoder import Encoder, PatchFeatures
from edgead_runtime.errors import EnrollmentError
from edgead_runtime.images import Picture
from edgead_runtime.manifest import Calibration, MaskDecision
from edgead_runtime.masking import masking_test, reference_threshold
from edgead_runtime.memory import Memory, scale
from edgead_runtime.pipeline import Pipeline, check_fits, make_mask
from edgead_runtime.recipe import Recipe
from edgead_runtime.subspace import Moments, Subspace

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


_ATTENTION_THRESHOLD = 0.05
"""On the min-max scaled attention; PatchEAD+."""
_CORESETS = 8
_NEIGHBOURHOOD = 0.2
"""Half-width of the neighbourhood left out, as a share of the grid's smaller side."""


def ignore_progress(stage: str, done: int, total: int) -> None:
    """The progress callback that does nothing."""


def encode_as_taken(
    encoder: Encoder, recipe: Recipe, good: Sequence[Picture], progress: Progress = ignore_progress
) -> tuple[PatchFeatures, ...]:
    """Encode every good picture once, as it was taken.

    Args:
        encoder: The encoder.
        recipe: The method; says which layers.
        good: The good pictures.
        progress: Told of the stage ``encode``.

    Raises:
        EnrollmentError: There is no picture.
        RecipeError: The encoder lacks one of the recipe's layers.
    """
    if not good:
        raise EnrollmentError("there are no good pictures", "Give at least one picture of a good part.")
    check_fits(encoder, recipe)
    features = []
    for done, picture in enumerate(good):
        progress("encode", done, len(good))
        features.append(encoder.encode(picture.frame, layers=recipe.layers))
    progress("encode", len(good), len(good))
    return tuple(features)


def check_distinct(digests: Sequence[tuple[str, str]]) -> None:
    """Refuse the same picture twice.

    Leaving a picture out of the bank means nothing while its copy stays in: it scores 0, and the threshold
    with it.

    Args:
        digests: Name and :func:`edgead_runtime.images.frame_digest` of every good picture.

    Raises:
        EnrollmentError: Two are the same.
    """
    seen: dict[str, str] = {}
    for name, digest in digests:
        if digest in seen:
            raise EnrollmentError(
                f"{seen[digest]} and {name} are the same picture", "Remove one of them; each must be another."
            )
        seen[digest] = name


def decide_mask(
    encoder: Encoder, recipe: Recipe, features: Sequence[PatchFeatures], frame_hw: tuple[int, int]
) -> MaskDecision:
    """Decide about the mask, once for the detector.

    Args:
        encoder: Its manifest may know the threshold.
        recipe: Asks for ``auto``, ``on`` or ``off``.
        features: Of the good pictures as taken.
        frame_hw: Size of the good pictures (height, width), for an area that was drawn.

    Raises:
        RecipeError: The area cannot be used.
        PictureError: The picture of it cannot be read.
    """
    if recipe.mask == "off":
        return MaskDecision(enabled=False, requested="off", reason="not masked: switched off", threshold=None)
    if recipe.mask_from == "area":
        area = drawn_area(recipe, encoder.preprocessor, frame_hw)
        return MaskDecision(
            enabled=True,
            requested=recipe.mask,
            reason=f"masked: an area was drawn, {area.mean():.0%} of the patches",
            threshold=None,
            area=area_to_rows(area),
        )
    threshold = recipe.mask_threshold
    if threshold is None and recipe.mask_from == "attention":
        threshold = _ATTENTION_THRESHOLD
    if threshold is None:
        threshold = encoder.manifest.pca_mask_threshold
    if threshold is None:
        threshold = reference_threshold([feature.tokens for feature in features], encoder.manifest.grid)
    if recipe.mask == "on":
        return MaskDecision(enabled=True, requested="on", reason="masked: switched on", threshold=threshold)
    test = masking_test([make_mask(feature, recipe, threshold) for feature in features])
    return MaskDecision(
        enabled=test.passed,
        requested="auto",
        reason=test.reason,
        threshold=threshold if test.passed else None,
    )


def fill_memory(
    pipeline: Pipeline,
    good: Sequence[Picture],
    as_taken: Sequence[PatchFeatures],
    progress: Progress = ignore_progress,
) -> Memory:
    """Remember every good picture, in every view of the recipe.

    Args:
        pipeline: The method.
        good: The good pictures.
        as_taken: Their features, from :func:`encode_as_taken`.
        progress: Told of the stage ``bank``.
    """
    memory = Memory((), pipeline.recipe)
    fixed = None
    for done, (picture, features) in enumerate(zip(good, as_taken, strict=True)):
        progress("bank", done, len(good))
        memory = memory.adding(pipeline.embed(picture, features, fixed))
        if done == 0 and len(good) > 1:
            fixed = pipeline.landmarks_to_align_to(memory.references[0])
    progress("bank", len(good), len(good))
    return memory


def calibrate_memory(
    pipeline: Pipeline,
    memory: Memory,
    held_out: Sequence[Picture] = (),
    false_alarm_rate: float | None = None,
    progress: Progress = ignore_progress,
) -> Calibration:
    """Choose thresholds: from held-out good pictures, else leave-one-out, else a labelled guess.

    A coreset is chosen anew from the pictures that are not left out: without what a picture gave to it there
    would be holes that no coreset of the others has, and scores too high. It keeps the same share of them as
    the bank does of all: with the same number of patches it would be denser, and scores too low.

    Args:
        pipeline: The method.
        memory: What good parts look like, with all patches; or with a coreset of them, where the pictures are
            encoded again to be left out.
        held_out: Good pictures that are not in it.
        false_alarm_rate: The rate not to exceed; ``None``: the lowest that can be claimed.
        progress: Told of the stage ``calibrate``.

    Raises:
        EnrollmentError: The rate cannot be claimed from so few pictures, or they are all but the same.
    """
    references = memory.references
    check_rate(len(held_out) or len(references), false_alarm_rate, held_out=bool(held_out))
    bank = memory if memory.coreset else memory.condensed
    if held_out:
        scores = []
        for done, picture in enumerate(held_out):
            progress("calibrate", done, len(held_out))
            scores.append(pipeline.score_picture(picture.frame, bank))
        progress("calibrate", len(held_out), len(held_out))
        return calibrate(scores, "held-out", false_alarm_rate)
    if len(references) > 1:
        scores = []
        whole = with_all_patches(pipeline, memory, progress)
        for group in left_out_together(len(references), memory.recipe):
            progress("calibrate", group[0], len(references))
            rest = [one for index, one in enumerate(whole.references) if index not in group]
            others = whole.of(rest).condensed_like(bank)
            scores += [pipeline.score_reference(whole.references[index], others) for index in group]
        progress("calibrate", len(references), len(references))
        return calibrate(scores, "leave-one-out", false_alarm_rate)
    reference = references[0]
    to_itself = _to_itself(pipeline, pipeline.patches_as_taken(reference))
    distances = pipeline.combine(to_itself, reference.mask)
    return guess_from_self_similarity(pipeline.normal_score(distances, reference.frame_hw))


def left_out_together(count: int, recipe: Recipe) -> list[range]:
    """Which references are left out at a time: each by itself, where a coreset need not be chosen each time.

    Else in at most eight groups: as many coresets as are no more work than the encoding. The others are then
    fewer than all but one, which errs on the same side as leaving one out.
    """
    size = -(-count // _CORESETS) if is_condensed(recipe) else 1
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def with_all_patches(pipeline: Pipeline, memory: Memory, progress: Progress) -> Memory:
    """The memory of the same references with every patch of theirs: what was left out is encoded again.

    A coreset without what one picture gave to it has holes that no coreset of the other pictures has, so
    this is where leaving a picture out begins.

    Args:
        pipeline: The method.
        memory: With a coreset, or without.
        progress: Told of the stages ``encode`` and ``bank``, where there is something to encode.
    """
    if not memory.coreset:
        return memory
    pictures = [reference.picture for reference in memory.references]
    features = []
    for done, picture in enumerate(pictures):
        progress("encode", done, len(pictures))
        features.append(pipeline.encode(picture.frame))
    return fill_memory(pipeline, pictures, features, progress)


def _to_itself(pipeline: Pipeline, tokens: Layers) -> Layers:
    """Distances ``[N]`` a layer of a picture's patches to the rest of the picture."""
    grid, recipe = pipeline.encoder.manifest.grid, pipeline.recipe
    if recipe.head == "subspace":
        found = (halves_distances(of_layer, grid, recipe.subspace_components) for of_layer in tokens)
    else:
        found = (self_distances(of_layer, grid) for of_layer in tokens)
    return tuple(scale(distances.ravel(), recipe) for distances in found)


def halves_distances(
    tokens: NDArray[np.float32], grid: tuple[int, int], components: int
) -> NDArray[np.float32]:
    """Distance of every patch of a picture's one half to the subspace of its other half [ours].

    Args:
        tokens: L2-normalized ``[N, D]``.
        grid: (rows, columns).
        components: How many a subspace keeps.

    Returns:
        ``[rows, columns]``.
    """
    left = np.tile(np.arange(grid[1]) < grid[1] / 2, grid[0])
    if left.all():
        left[len(left) // 2 :] = False  # one column: upper and lower half
    distances = np.empty(len(tokens), dtype=np.float32)
    for half in (left, ~left):
        distances[half] = Subspace.fit([Moments.of(tokens[~half])], components).distances(tokens[half])
    return distances.reshape(grid)


def self_distances(tokens: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Distance of every patch to its nearest in the same picture, its neighbourhood left out [ours].

    What a part varies by across itself is the best guess there is at what good parts vary by among
    themselves, while only one is known.

    Args:
        tokens: L2-normalized ``[N, D]``.
        grid: (rows, columns).

    Returns:
        ``[rows, columns]`` cosine distances.
    """
    rows, columns = np.divmod(np.arange(len(tokens)), grid[1])
    reach = max(1, round(_NEIGHBOURHOOD * min(grid)))
    near = (abs(rows[:, None] - rows) <= reach) & (abs(columns[:, None] - columns) <= reach)
    if near.all(axis=1).any():
        near = np.eye(len(tokens), dtype=np.bool_)  # a grid so small that nothing else would be left
    similarities = np.where(near, np.float32(-1), tokens @ tokens.T)
    return np.asarray(np.clip(1 - similarities.max(axis=1), 0, 2), dtype=np.float32).reshape(grid)
