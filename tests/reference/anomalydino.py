"""AnomalyDINO (arXiv 2405.14529) written out plainly, as the oracle for the toolkit's tests.

It follows the authors' release step by step and imports nothing of the toolkit, only what the release stands
on (an exact product for faiss, for torchvision the Pillow call it makes). Slow on purpose: float64, no cache.

Three things differ from the release on purpose. The PCA uses the full, deterministic SVD where the release
uses the randomized one; an empty mask counts as a full one; and transformers interpolates the position
embeddings to an exact size, where torch.hub's DINOv2 asks for the scale (g + 0.1) / 37.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from sklearn.decomposition import PCA

if TYPE_CHECKING:
    from transformers import Dinov2Model

Frame = npt.NDArray[np.uint8]  # RGB, H x W x 3
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Morphology = Literal["official", "2d"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
ANGLES = (0, 45, 90, 135, 180, 225, 270, 315)


def _to_tensor(image: Image.Image) -> torch.Tensor:
    x = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).to(torch.float32) / 255
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def preprocess(frame_rgb: Frame, smaller_edge: int, patch: int = 14) -> torch.Tensor:
    """As the release: torchvision's Resize(smaller_edge, BICUBIC), then a top-left crop to whole patches."""
    h, w = frame_rgb.shape[:2]
    short, long = min(h, w), max(h, w)
    new_long = int(smaller_edge * long / short)
    new_w, new_h = (smaller_edge, new_long) if w <= h else (new_long, smaller_edge)
    x = _to_tensor(Image.fromarray(frame_rgb).resize((new_w, new_h), Image.Resampling.BICUBIC))
    return x[:, : new_h - new_h % patch, : new_w - new_w % patch]


def preprocess_squared(frame_rgb: Frame, size: tuple[int, int]) -> torch.Tensor:
    """The whole frame resized to exactly size = (height, width), its aspect not kept."""
    h, w = size
    return _to_tensor(Image.fromarray(frame_rgb).resize((w, h), Image.Resampling.BICUBIC))


def rotations(frame: Frame, angles: Sequence[float] = ANGLES) -> list[Frame]:
    """The raw frame turned counter-clockwise about (w/2, h/2), bilinear, reflect-101, canvas unchanged."""
    h, w = frame.shape[:2]
    turned = []
    for angle in angles:
        matrix = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1.0)
        turned.append(cv2.warpAffine(frame, matrix, (w, h), None, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101))
    return turned


@torch.inference_mode()
def tokens(model: Dinov2Model, x: torch.Tensor, layer: int | None = None, norm: bool = True) -> Floats:
    """Patch tokens [N, D] of one picture [3, h, w] after block `layer` (1-based; None = the last).

    The model's final LayerNorm is applied, to an inner block's output too, as `get_intermediate_layers` does
    in the release. `norm=False` leaves it out: the known trap. The blocks are run one by one, because what
    `hidden_states[-1]` holds has differed between versions of transformers.
    """
    blocks = model.encoder.layer
    last = len(blocks) if layer is None else layer
    if not 1 <= last <= len(blocks):
        raise ValueError(f"layer {layer} is not in 1..{len(blocks)}")
    hidden = model.embeddings(x[None])
    for block in blocks[:last]:
        out = block(hidden)
        hidden = out[0] if isinstance(out, tuple) else out
    if norm:
        hidden = model.layernorm(hidden)
    registers = getattr(model.config, "num_register_tokens", 0)
    return hidden[0, 1 + registers :].numpy().copy()


def first_component(patch_tokens: Floats) -> Floats:
    """Projection of the centred raw tokens on their first principal component, [N]; its sign is arbitrary."""
    pca = PCA(n_components=1, svd_solver="full")
    return pca.fit_transform(patch_tokens.astype(np.float32))[:, 0]


def otsu_threshold(values: Floats, returns: Literal["edge", "centre"] = "edge") -> float:
    """Classical Otsu on 256 equal bins between the smallest and the largest value.

    Bins 0..i are the low class, i+1..255 the high one; i maximises w0 * w1 * (m0 - m1)^2, means over centres,
    and of equal maxima (an empty gap) the first i is chosen. "edge" returns the upper edge of bin i, "centre"
    (scikit-image's convention) the centre of bin i. The high class is `> t`.
    """
    counts, edges = np.histogram(np.asarray(values, dtype=np.float64), bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    best, at = -1.0, 0
    for i in range(255):
        w0, w1 = counts[: i + 1].sum(), counts[i + 1 :].sum()
        if w0 == 0 or w1 == 0:
            continue
        m0 = (counts[: i + 1] * centres[: i + 1]).sum() / w0
        m1 = (counts[i + 1 :] * centres[i + 1 :]).sum() / w1
        between = float(w0) * float(w1) * (m0 - m1) ** 2
        if between > best * (1 + 1e-12):
            best, at = between, i
    return float(edges[at + 1] if returns == "edge" else centres[at])


def morph(mask: Bools, grid: tuple[int, int], morphology: Morphology) -> Bools:
    """Dilate, then close, with 3x3 ones, a flat mask [N] of patches in raster order.

    "official": as the release, on shape (N, 1): a picture one pixel wide and N high. Only the kernel's middle
    column meets data, so it reaches one patch back and forth in raster order. "2d": on the grid.
    In both, cv2 ignores what lies beyond the border: a mask ending one patch short of it is closed onto it.
    """
    shape = (mask.size, 1) if morphology == "official" else grid
    kernel = np.ones((3, 3), np.uint8)
    m = cv2.dilate(np.ascontiguousarray(mask.reshape(shape).astype(np.uint8)), kernel)
    m = cv2.morphologyEx(m, cv2.MORPH_CLOSE, kernel)
    return m.reshape(-1).astype(bool)


def pca_mask(
    patch_tokens: Floats,
    grid: tuple[int, int],
    threshold: float | None = 10.0,
    morphology: Morphology = "official",
) -> Bools:
    """The object's patches, flat [N]; threshold None is Otsu's, found anew on the other sign."""

    def above(pc: Floats) -> Bools:
        return pc > (otsu_threshold(pc) if threshold is None else threshold)

    pc = first_component(patch_tokens)
    mask = above(pc)
    rows, cols = grid
    centre = mask.reshape(grid)[int(rows * 0.2) : int(rows * 0.8), int(cols * 0.2) : int(cols * 0.8)]
    if centre.sum() <= centre.size * 0.35:
        mask = above(-pc)
    mask = morph(mask, grid, morphology)
    return mask if mask.any() else np.ones_like(mask)


def normalise(patch_tokens: Floats, dtype: npt.DTypeLike = np.float64) -> Floats:
    """Rows of unit length."""
    t = np.asarray(patch_tokens, dtype=dtype)
    return t / np.linalg.norm(t, axis=1, keepdims=True)


def distances(patch_tokens: Floats, bank: Floats, dtype: npt.DTypeLike = np.float64) -> Floats:
    """1 - the largest cosine similarity to the bank, [N]; not clipped: a perfect match is 0 +- rounding."""
    return 1 - (normalise(patch_tokens, dtype) @ normalise(bank, dtype).T).max(axis=1)


def image_score(d: Floats) -> float:
    """Mean of the top int(0.01 N) distances, the largest if that is none; masked patches are in d, as 0."""
    ordered = np.sort(np.asarray(d, dtype=np.float64).ravel())[::-1]
    return float(ordered[: max(int(ordered.size * 0.01), 1)].mean())


def batch_zero_shot_distances(all_tokens: Sequence[Floats], share: float = 0.001) -> list[Floats]:
    """Batched zero-shot, [N] of each picture: no reference, all the others instead, unmasked and unrotated.

    Of a patch's distances to all M patches of the others, q is the int(share M)-th smallest, and the patch
    gets the mean of those strictly below q. The release leaves two cases open: an int(share M) of 0 counts as
    1 here, and where nothing is below q the patch gets q.
    """
    if len(all_tokens) < 2:
        raise ValueError("a batch needs two pictures or more")
    scores = []
    for i, query in enumerate(all_tokens):
        others = normalise(np.concatenate([t for j, t in enumerate(all_tokens) if j != i]))
        found = []
        for d in np.sort(1 - normalise(query) @ others.T, axis=1):
            q = d[max(int(share * len(d)), 1) - 1]
            below = d[d < q]
            found.append(below.mean() if below.size else q)
        scores.append(np.array(found))
    return scores


def anomaly_map(d_grid: Floats, frame_hw: tuple[int, int], sigma: float = 4.0) -> Floats:
    """Bilinear (half-pixel centres) to the frame's size, then a Gaussian of sigma pixels of the frame."""
    small = torch.from_numpy(np.array(d_grid, dtype=np.float64))[None, None]
    large = torch.nn.functional.interpolate(small, size=frame_hw, mode="bilinear", align_corners=False)
    return ndimage.gaussian_filter(large[0, 0].numpy(), sigma=sigma, mode="reflect", truncate=4.0)


class ReferenceAnomalyDINO:
    """Fit on good frames, then predict one frame at a time."""

    def __init__(
        self,
        model: Dinov2Model,
        *,
        size: int | tuple[int, int] = 448,  # a smaller edge: resize and crop; (h, w): squeeze to exactly that
        layer: int | None = None,
        mask: bool = False,
        threshold: float | None = 10.0,
        morphology: Morphology = "official",
        sigma: float = 4.0,
    ) -> None:
        self.model, self.size, self.layer = model.eval(), size, layer
        self.mask, self.threshold, self.morphology, self.sigma = mask, threshold, morphology, sigma
        self.bank: Floats = np.empty((0, 0))

    def features(self, frame: Frame) -> tuple[Floats, tuple[int, int]]:
        """Patch tokens [N, D] and the (rows, cols) of their grid."""
        size = self.size
        x = preprocess(frame, size) if isinstance(size, int) else preprocess_squared(frame, size)
        patch = self.model.config.patch_size
        return tokens(self.model, x, self.layer), (x.shape[1] // patch, x.shape[2] // patch)

    def fit(self, frames: Sequence[Frame], rotate: bool) -> ReferenceAnomalyDINO:
        """The bank: all tokens of all frames, in order, each frame in eight turns if `rotate`; no mask."""
        views = [view for frame in frames for view in (rotations(frame) if rotate else [frame])]
        self.bank = np.concatenate([self.features(view)[0] for view in views])
        return self

    def predict(self, frame: Frame) -> tuple[float, Floats, Floats, Bools]:
        """Image score, map [H, W], distances [rows, cols] with 0 where masked out, and mask [rows, cols]."""
        found, grid = self.features(frame)
        full = np.ones(len(found), dtype=bool)
        mask = pca_mask(found, grid, self.threshold, self.morphology) if self.mask else full
        d = np.where(mask, distances(found, self.bank), 0.0)
        d_grid = d.reshape(grid)
        return image_score(d), anomaly_map(d_grid, frame.shape[:2], self.sigma), d_grid, mask.reshape(grid)


def image_auroc(scores: Sequence[float] | Floats, labels: Sequence[int] | Bools) -> float:
    """The share of (anomalous, good) pairs in the right order; a tie is half a pair."""
    s, bad = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    wins = sum(1.0 if a > g else 0.5 if a == g else 0.0 for a in s[bad] for g in s[~bad])
    return wins / (int(bad.sum()) * int((~bad).sum()))


def pro(maps: Sequence[Floats], masks: Sequence[npt.NDArray[np.generic]], limit: float = 0.3) -> float:
    """Area under per-region overlap against FPR up to `limit`, over `limit`; one point per distinct score.

    Regions are 8-connected; FPR is over the pixels outside regions of all pictures together. Brute force.
    """
    truth = [np.asarray(m) > 0 for m in masks]
    outside = np.concatenate([a[~t] for a, t in zip(maps, truth, strict=True)])
    regions = []
    for a, t in zip(maps, truth, strict=True):
        labelled, count = ndimage.label(t, structure=np.ones((3, 3)))
        regions += [a[labelled == i] for i in range(1, count + 1)]
    fpr, overlap = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([np.ravel(a) for a in maps]))[::-1]:
        fpr.append(float((outside >= threshold).mean()))
        overlap.append(float(np.mean([(r >= threshold).mean() for r in regions])))
    fpr.append(1.0)
    overlap.append(1.0)
    area = 0.0
    for x0, y0, x1, y1 in zip(fpr[:-1], overlap[:-1], fpr[1:], overlap[1:], strict=True):
        if x1 > x0 and x0 < limit:
            end = min(x1, limit)
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit
