"""Which patches belong to the object: threshold on the first principal component of the tokens.

Source: AnomalyDINO, section 3.2 and release. The paper's masking test is a person's look at the first
reference; :func:`masking_test` is our automatic stand-in for it, and the enrolment sheet shows the person
what it decided on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.blas_threads import one_blas_thread
from edgead_runtime.recipe import Morphology

Mask = NDArray[np.bool_]

_KERNEL = np.ones((3, 3), np.uint8)
_CENTRE = (0.2, 0.8)
_CENTRE_SHARE = 0.35

_SUBSPACE = 8
_MAX_ITERATIONS = 100
_RESIDUAL = 1e-5


def first_component(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """Projection of the centred tokens on their first principal component.

    Subspace iteration with a residual test: a full eigendecomposition takes as long as a small encoder.
    The sign, which is arbitrary, is scikit-learn's: the component's largest entry is positive.

    Args:
        tokens: ``[N, D]``, not normalized.

    Returns:
        ``[N]``, in the tokens' units.
    """
    with one_blas_thread():
        return _first_component(tokens - tokens.mean(axis=0, dtype=np.float64).astype(np.float32))


def _first_component(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    # A fixed random start is never orthogonal to the component sought, and is the same every time.
    start = np.random.default_rng(0).standard_normal((centred.shape[1], _SUBSPACE)).astype(np.float32)
    basis = np.linalg.qr(start)[0]
    for _ in range(_MAX_ITERATIONS):
        projected = centred @ basis
        values, vectors = np.linalg.eigh(projected.T @ projected)
        if values[-1] <= 0:
            break  # every token is the same
        leading = basis @ vectors[:, -1]
        image = centred.T @ (centred @ leading)
        if np.linalg.norm(image - values[-1] * leading) <= _RESIDUAL * values[-1]:
            return np.asarray(projected @ vectors[:, -1] * _sign(leading), dtype=np.float32)
        basis = np.linalg.qr(centred.T @ projected)[0]
    # Two components of all but equal variance: either is as good, but let it be the exact one.
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ vectors[:, -1] * _sign(vectors[:, -1]), dtype=np.float32)


def _sign(component: NDArray[np.float32]) -> float:
    return -1.0 if component[np.abs(component).argmax()] < 0 else 1.0


def otsu_threshold(values: NDArray[np.float32]) -> float:
    """Otsu's threshold on 256 levels, moved to the middle of the gap between the two groups.

    Otsu takes the low end of an empty gap; a threshold that is fixed at enrolment would then sit on the
    very edge of the background.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    levels = np.round((values - low) * (255 / (high - low))).astype(np.uint8)
    level, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above = levels > level
    return (float(values[~above].max()) + float(values[above].min())) / 2


def _centre_share(mask: Mask) -> float:
    rows, columns = mask.shape
    window = mask[
        int(_CENTRE[0] * rows) : int(_CENTRE[1] * rows), int(_CENTRE[0] * columns) : int(_CENTRE[1] * columns)
    ]
    return float(window.mean()) if window.size else 1.0


def pca_mask(
    tokens: NDArray[np.float32],
    grid: tuple[int, int],
    *,
    threshold: float | None,
    morphology: Morphology,
) -> Mask:
    """Patches that belong to the object.

    Args:
        tokens: ``[N, D]``, not normalized.
        grid: (rows, columns).
        threshold: On the first component, in the tokens' units; ``None``: Otsu's on this picture.
        morphology: ``official`` dilates and closes along raster order (the release hands OpenCV an
            ``(N, 1)`` array, so neighbours wrap at row ends and never reach up or down); ``2d`` on the grid.

    Returns:
        ``[rows, columns]``; all true where the mask would be empty [ours].
    """
    component = first_component(tokens)
    mask = _above(component, threshold).reshape(grid)
    if _centre_share(mask) <= _CENTRE_SHARE:
        mask = _above(-component, threshold).reshape(grid)
    pixels = mask.astype(np.uint8).reshape((-1, 1) if morphology == "official" else grid)
    pixels = np.asarray(cv2.morphologyEx(cv2.dilate(pixels, _KERNEL), cv2.MORPH_CLOSE, _KERNEL), np.uint8)
    closed = pixels.reshape(grid).astype(np.bool_)
    return closed if closed.any() else np.ones(grid, dtype=np.bool_)


def attention_mask(attention: NDArray[np.float32], grid: tuple[int, int], *, threshold: float) -> Mask:
    """Patches that the CLS token looks at.

    Source: PatchEAD+: min-max scaled per picture, above 0.05.

    Args:
        attention: CLS to patches ``[N]``, mean over heads.
        grid: (rows, columns).
        threshold: On the scaled attention, in [0, 1).

    Returns:
        ``[rows, columns]``; all true where all attention is equal, or the mask would be empty [ours].
    """
    low, high = float(attention.min()), float(attention.max())
    if high <= low:
        return np.ones(grid, dtype=np.bool_)
    mask = np.asarray((attention - low) / (high - low) > threshold, dtype=np.bool_).reshape(grid)
    # With an empty mask every distance is deleted, and every part is good.
    return mask if mask.any() else np.ones(grid, dtype=np.bool_)


def _above(component: NDArray[np.float32], threshold: float | None) -> Mask:
    limit = otsu_threshold(component) if threshold is None else threshold
    return np.asarray(component > limit, dtype=np.bool_)


def reference_threshold(token_sets: Sequence[NDArray[np.float32]], grid: tuple[int, int]) -> float:
    """One threshold for a detector: the median of Otsu's over its references.

    Fixed at enrolment, so that a defect cannot move the border between part and background.

    Args:
        token_sets: Tokens ``[N, D]`` of each reference.
        grid: (rows, columns).
    """
    thresholds = []
    for tokens in token_sets:
        component = first_component(tokens)
        if _centre_share(_above(component, None).reshape(grid)) <= _CENTRE_SHARE:
            component = -component
        thresholds.append(otsu_threshold(component))
    return float(np.median(thresholds))


@dataclass(frozen=True)
class MaskingTest:
    """Outcome of the masking test and the sentence that explains it."""

    passed: bool
    reason: str


_MIN_SHARE, _MAX_SHARE = 0.03, 0.75
_MAX_BORDER_SHARE = 0.30
_MIN_COHERENCE = 0.85
_MAX_HOLE_SHARE = 0.05


def masking_test(masks: Sequence[Mask]) -> MaskingTest:
    """Decide whether the masks of the references hold the object [ours].

    Every reference must show one object (its largest part holds 85 % of the mask) that covers 3 to 75 %
    of the frame, keeps clear of 70 % of the border and has next to no holes. A texture or a close-up fails
    at least one of these, and then nothing is masked: a defect that is masked away is never found, while
    background that is not masked only costs false alarms.

    Args:
        masks: Mask ``[rows, columns]`` of each reference.
    """
    for number, mask in enumerate(masks, start=1):
        fault = _mask_fault(mask)
        if fault is not None:
            return MaskingTest(False, f"not masked: in reference {number} {fault}")
    shares = [float(mask.mean()) for mask in masks]
    return MaskingTest(
        True,
        f"masked: one object, clear of the border, {min(shares):.0%} to {max(shares):.0%} of the frame",
    )


def _mask_fault(mask: Mask) -> str | None:
    share = float(mask.mean())
    if not _MIN_SHARE <= share <= _MAX_SHARE:
        return f"the object would cover {share:.0%} of the frame"
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if border.mean() > _MAX_BORDER_SHARE:
        return f"the object would touch {border.mean():.0%} of the border"
    coherence = _largest_component(mask) / mask.sum()
    if coherence < _MIN_COHERENCE:
        return f"the mask falls apart (its largest part is {coherence:.0%})"
    holes = _hole_share(mask)
    if holes > _MAX_HOLE_SHARE:
        return f"the object would have holes ({holes:.0%} of it)"
    return None


def _largest_component(mask: Mask) -> int:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return int(stats[1:, cv2.CC_STAT_AREA].max())


def _hole_share(mask: Mask) -> float:
    """Background that the object encloses, as a share of the object."""
    padded = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(padded, connectivity=4)
    outside = labels[0, 0]
    return float(((labels != outside) & (padded == 1)).sum() / mask.sum())
