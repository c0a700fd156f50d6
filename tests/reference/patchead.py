"""PatchEAD (arXiv 2509.25856) written out plainly, as the oracle for the toolkit's tests.

It imports nothing of the toolkit; pictures, tokens, metrics and the top-1 % image score come from the other
oracle. Slow on purpose: float64, one reference after the other, every distance held.

Where the sources disagree or are silent:
- The paper's prose says that s_n(p) takes "the patch with the maximum distance" of reference n; the closest
  one is taken here, as the release's minimum over the bank implies.
- Few-shot, the authors' release takes the minimum over the whole bank ("min"); the paper's rule, the mean
  over the K references that fit worst, is "worst". With one reference the two are the same. The 30 % are the
  paper's for a batch; its few-shot K is not legible in our copy.
- K is rounded as Python does, a half to the even number: 30 % of 5 is 2, of 15 is 4.
- An attention that is the same everywhere tells no background: all patches weigh 1.

- "We average the scores from the three images for each sample": the mean is taken within a reference, over
  its picture as taken, aligned, and aligned and turned by 180 degrees; then come the references.
- The paper does not say what becomes of a reference that cannot be aligned; here it has fewer views.

PatchEAD+ weighs the patch scores by `attention_weights` before `image_score` and `anomaly_map`. Of its
alignment there is what follows the feature matching: `rigid_fit` of the matched points, `aligned_views` and
`aligned_scores`. The matching itself has no one right answer to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from reference.anomalydino import Floats, Frame, image_auroc, image_score, normalise, preprocess, pro, tokens

if TYPE_CHECKING:
    from torch import nn
    from transformers import Dinov2Model

__all__ = [
    "Reduction",
    "aligned_scores",
    "aligned_views",
    "anomaly_map",
    "attention_weights",
    "batch_zero_shot_scores",
    "cls_attention",
    "few_shot_scores",
    "half_cosine",
    "half_turn",
    "image_auroc",
    "image_score",
    "preprocess",
    "pro",
    "rigid_fit",
    "tokens",
    "worst_count",
]

Reduction = Literal["min", "worst"]


def half_turn(frame: Frame) -> Frame:
    """The frame turned by 180 degrees: both flips, exact, on the same canvas."""
    return np.ascontiguousarray(frame[::-1, ::-1])


def half_cosine(patch_tokens: Floats, bank: Floats) -> Floats:
    """(1 - cos) / 2 of every patch to every patch of the bank, [N, M], within 0..1."""
    cosine = normalise(patch_tokens) @ normalise(bank).T
    return (1 - np.clip(cosine, -1.0, 1.0)) / 2


def worst_count(references: int, worst_share: float = 0.3) -> int:
    """K, the number of references that `worst` averages over."""
    return max(1, round(worst_share * references))


def few_shot_scores(
    patch_tokens: Floats,
    references: Sequence[Floats],
    reduction: Reduction = "min",
    worst_share: float = 0.3,
) -> Floats:
    """Patch scores [N] against references [M_i, D], each of its own length.

    "min": the distance to the closest patch of the whole bank. "worst": s_n(p) is the distance to the closest
    patch of reference n; the mean over the K largest s_n(p), chosen for every patch on its own.
    """
    if not references:
        raise ValueError("no reference")
    if reduction == "min":
        return half_cosine(patch_tokens, np.concatenate(list(references))).min(axis=1)
    if reduction != "worst":
        raise ValueError(f"unknown reduction {reduction!r}")
    closest = np.stack([half_cosine(patch_tokens, r).min(axis=1) for r in references])  # [n, N]
    descending = np.sort(closest, axis=0)[::-1]
    return descending[: worst_count(len(references), worst_share)].mean(axis=0)


def aligned_scores(
    patch_tokens: Floats,
    references: Sequence[Sequence[Floats]],
    reduction: Reduction = "min",
    worst_share: float = 0.3,
) -> Floats:
    """Patch scores [N] of PatchEAD+ against the views [M_i, D] of each reference.

    s_n(p) is the mean over the views of reference n of the distance to the closest patch of that view; "min"
    takes the least s_n(p), "worst" the mean over the K largest.
    """
    if not references:
        raise ValueError("no reference")
    per_reference = []
    for views in references:
        if not views:
            raise ValueError("a reference without a view")
        closest = [half_cosine(patch_tokens, view).min(axis=1) for view in views]
        per_reference.append(sum(closest) / len(closest))
    ascending = np.sort(np.stack(per_reference), axis=0)
    if reduction == "min":
        return ascending[0]
    if reduction != "worst":
        raise ValueError(f"unknown reduction {reduction!r}")
    return ascending[-worst_count(len(references), worst_share) :].mean(axis=0)


def rigid_fit(source: Floats, target: Floats) -> Floats:
    """Matrix [2, 3] of the rotation and shift that bring points [n, 2] closest to others (least squares).

    In the plane the angle is known outright: with both sets about their centres, the sum of squares is least
    where tan(angle) = sum of cross products / sum of dot products.
    """
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    dot = (a * b).sum()
    cross = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    angle = np.arctan2(cross, dot)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = target.mean(axis=0) - rotation @ source.mean(axis=0)
    return np.concatenate([rotation, shift[:, None]], axis=1)


def _reflected(index: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Indices of any size folded back into 0..length-1 without repeating the edge: -1 is 1."""
    if length == 1:
        return np.zeros_like(index)
    folded = index % (2 * (length - 1))
    return np.minimum(folded, 2 * (length - 1) - folded)


def aligned_views(frame: Frame, matrix: Floats, fixed_hw: tuple[int, int]) -> list[Frame]:
    """The frame as taken, aligned, and aligned and turned by 180 degrees.

    `matrix` [2, 3] maps pixels (x, y) of the frame to pixels of the fixed one, (0, 0) being the centre of the
    first. Bilinear in float64, borders reflected without repeating the edge.
    """
    height, width = frame.shape[:2]
    x, y = np.meshgrid(np.arange(fixed_hw[1]), np.arange(fixed_hw[0]))
    inverse = np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))
    from_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    from_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    left, top = np.floor(from_x).astype(np.int64), np.floor(from_y).astype(np.int64)
    right_share, bottom_share = (from_x - left)[..., None], (from_y - top)[..., None]
    aligned = np.zeros((*fixed_hw, frame.shape[2]))
    for down, of_row in ((0, 1 - bottom_share), (1, bottom_share)):
        for across, of_column in ((0, 1 - right_share), (1, right_share)):
            rows, columns = _reflected(top + down, height), _reflected(left + across, width)
            aligned += of_row * of_column * frame[rows, columns]
    rounded = np.round(aligned).astype(np.uint8)
    return [frame, rounded, half_turn(rounded)]


def batch_zero_shot_scores(all_tokens: Sequence[Floats], worst_share: float = 0.3) -> list[Floats]:
    """Patch scores [N] of each picture, all the others its references; K is a share of the others."""
    if len(all_tokens) < 2:
        raise ValueError("a batch needs two pictures or more")
    scores = []
    for i, query in enumerate(all_tokens):
        others = [t for j, t in enumerate(all_tokens) if j != i]
        scores.append(few_shot_scores(query, others, "worst", worst_share))
    return scores


def _projections(block: Any) -> tuple[nn.Module, nn.Module]:
    """A block's query and key projections; they have moved between versions of transformers."""
    attention = getattr(block.attention, "attention", block.attention)
    if hasattr(attention, "q_proj"):
        return attention.q_proj, attention.k_proj
    return attention.query, attention.key


@torch.inference_mode()
def cls_attention(model: Dinov2Model, x: torch.Tensor, layer: int | None = None) -> Floats:
    """CLS->patch attention [N] of one picture [3, h, w] in block `layer` (1-based; None = the last).

    The mean over heads of softmax(q k / sqrt(d)). The softmax runs over all tokens; CLS and registers are
    left out after it, and the rest is not renormalised: it sums to less than 1.
    """
    blocks = model.encoder.layer
    last = len(blocks) if layer is None else layer
    if not 1 <= last <= len(blocks):
        raise ValueError(f"layer {layer} is not in 1..{len(blocks)}")
    hidden = model.embeddings(x[None])
    for block in blocks[: last - 1]:
        out = block(hidden)
        hidden = out[0] if isinstance(out, tuple) else out
    block = blocks[last - 1]
    query, key = _projections(block)
    normed = block.norm1(hidden)
    q = query(normed)[0].numpy().astype(np.float64)  # [tokens, heads * d]
    k = key(normed)[0].numpy().astype(np.float64)
    heads = model.config.num_attention_heads
    d = q.shape[1] // heads
    mean = np.zeros(len(q))
    for h in range(heads):
        columns = slice(h * d, (h + 1) * d)
        logits = k[:, columns] @ q[0, columns] / np.sqrt(d)
        e = np.exp(logits - logits.max())
        mean += e / e.sum() / heads
    return mean[1 + getattr(model.config, "num_register_tokens", 0) :]


def attention_weights(attention: Floats, threshold: float = 0.05, background: float = 0.5) -> Floats:
    """1 where the attention, min-max normalised over the picture, is > threshold, else `background`; [N]."""
    a = np.asarray(attention, dtype=np.float64)
    spread = a.max() - a.min()
    if spread == 0:
        return np.ones_like(a)
    return np.where((a - a.min()) / spread > threshold, 1.0, background)


def anomaly_map(scores_grid: Floats, frame_hw: tuple[int, int]) -> Floats:
    """Patch scores [rows, cols], bilinear (half-pixel centres) to the frame's size; no Gaussian."""
    small = torch.from_numpy(np.array(scores_grid, dtype=np.float64))[None, None]
    large = torch.nn.functional.interpolate(small, size=frame_hw, mode="bilinear", align_corners=False)
    return large[0, 0].numpy()
