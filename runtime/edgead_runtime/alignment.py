"""Where one picture of a part lies in another: the rotation and shift that lay it over.

Source: PatchEAD+, section 3.3: displacement and rotation between a reference and the picture by classical
feature matching. The paper names neither a detector nor tolerances; those here are ours, and
``python -m benchmarks.alignment`` measures them. A wrong alignment is worse than none, so what is in doubt is
refused with its reason.

The result is the same every time and in every thread: the matcher is exhaustive, and OpenCV's RANSAC starts a
generator of its own in every call, which the process's (``cv2.setRNGSeed``) does not reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.images import Frame

Points = NDArray[np.float64]
Matrix = NDArray[np.float64]

WORKING_SIDE_PX = 640
"""Longest side of the grey copy that is searched, so that a large frame costs no more than a small one."""
MAX_LANDMARKS = 1000
MAX_SCALE_ERROR = 0.03
"""How far the magnification may be from 1. At 3 % what is in place at the centre of the frame is off by 1.5 %
of the frame at its edge."""
MIN_COVERAGE = 0.5
"""Share of the fixed frame that the moved one must cover; beyond it there is only its reflection."""

RATIO = 0.8
"""How much closer than the second a landmark's counterpart must be."""

# Far below OpenCV's 0.04, at which a matt part under soft light has hardly a landmark.
_CONTRAST = 0.005
_TOLERANCE_PX = 3.0  # of the working copy
_MIN_LANDMARKS = 10
_MIN_MATCHES = 10
_MIN_INLIERS = 12
_MIN_INLIER_SHARE = 0.35
_ITERATIONS = 5000
_CONFIDENCE = 0.999
_COVERAGE_GRID = 32


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points of a frame that can be found again, and what surrounds each."""

    points: Points
    """``[n, 2]``: x, y in pixels of the frame itself; the centre of its first pixel is (0, 0)."""
    descriptors: NDArray[np.float32]
    """``[n, D]``, compared by Euclidean distance."""
    frame_hw: tuple[int, int]
    """Size of the frame (height, width)."""
    scale: float
    """Pixels of the working copy to one of the frame, at most 1."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """How to lay the moving frame over the fixed one, or why that cannot be said."""

    matrix: Matrix
    """``[2, 3]``: pixels of the moving frame to pixels of the fixed one by rotation and shift alone; the
    identity where none was found."""
    inliers: int
    """Matches that agree with it."""
    matches: int
    """Landmarks of one frame that look like one of the other."""
    rotation_deg: float
    """Counter-clockwise as in :func:`edgead_runtime.views.rotate`, -180 to 180."""
    shift_px: float
    """How far the centre of the moving frame moves, in pixels."""
    reason: str
    """What was found, or why nothing was; a part of a sentence."""
    found: bool


def find_landmarks(frame: Frame, mask: NDArray[np.bool_] | None = None) -> Landmarks:
    """The landmarks of a frame, by SIFT.

    Args:
        frame: ``[H, W, 3]`` uint8, BGR.
        mask: ``[rows, columns]`` of any size, laid over the whole frame: where landmarks may lie. Without one
            a background that always looks the same is aligned instead of a part that does not.
    """
    grey = working_copy(frame)
    if mask is None:
        keypoints, descriptors = _sift(MAX_LANDMARKS).detectAndCompute(grey, None)
    else:
        size = grey.shape[1], grey.shape[0]
        allowed = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        # OpenCV takes the strongest of the whole picture first and masks them afterwards: under a lively
        # background few would be left.
        everywhere = _sift(0).detect(grey, allowed)
        strongest = sorted(everywhere, key=lambda keypoint: -keypoint.response)[:MAX_LANDMARKS]
        keypoints, descriptors = _sift(0).compute(grey, strongest)
    # Without a landmark there are no descriptors, instead of an empty array of them.
    found = np.zeros((0, 128)) if descriptors is None else descriptors
    return landmarks_from(keypoints, np.asarray(found, dtype=np.float32), grey, frame)


def _sift(most: int) -> cv2.SIFT:
    """A detector for one call: making one costs nothing, and OpenCV does not say that threads may share it.

    Args:
        most: Landmarks; 0 for all.
    """
    # Without the precise upscaling every point lies a quarter of a pixel off, which a half turn doubles.
    return cv2.SIFT.create(nfeatures=most, contrastThreshold=_CONTRAST, enable_precise_upscale=True)


def working_copy(frame: Frame) -> NDArray[np.uint8]:
    """The grey copy ``[h, w]`` that is searched, its longest side at most :data:`WORKING_SIDE_PX`."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    scale = WORKING_SIDE_PX / max(height, width)
    if scale < 1:
        small_wh = max(1, round(width * scale)), max(1, round(height * scale))
        grey = cv2.resize(grey, small_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.uint8)


def landmarks_from(
    keypoints: Sequence[cv2.KeyPoint],
    descriptors: NDArray[np.float32],
    grey: NDArray[np.uint8],
    frame: Frame,
) -> Landmarks:
    """Landmarks from what a detector found in the working copy of a frame.

    Args:
        keypoints: In pixels of the working copy.
        descriptors: One for each ``[n, D]``.
        grey: The working copy ``[h, w]``.
        frame: ``[H, W, 3]``.
    """
    # Where several are equally strong, OpenCV returns more than it was asked for.
    kept = keypoints[:MAX_LANDMARKS]
    points = np.array([keypoint.pt for keypoint in kept], dtype=np.float64).reshape(-1, 2)
    height, width = frame.shape[:2]
    to_frame = np.array([width / grey.shape[1], height / grey.shape[0]])
    return Landmarks(
        points=(points + 0.5) * to_frame - 0.5,
        descriptors=descriptors[: len(kept)],
        frame_hw=(height, width),
        scale=max(grey.shape) / max(height, width),
    )


def align(moving: Landmarks, fixed: Landmarks, *, ratio: float = RATIO) -> Alignment:
    """Find the rotation and shift that lay one frame over another.

    The frames may differ in size as long as a pixel shows as much of the part in both.

    Args:
        moving: Of the frame that is to be turned and shifted.
        fixed: Of the frame that it is to lie over.
        ratio: See :data:`RATIO`.
    """
    fewest = min(len(moving.points), len(fixed.points))
    if fewest < _MIN_LANDMARKS:
        return _not_found(f"too few landmarks to go by ({fewest})")
    pairs = match(moving.descriptors, fixed.descriptors, ratio)
    matches = len(pairs)
    if matches < _MIN_MATCHES:
        return _not_found(f"too few landmarks look alike ({matches})", matches)
    source, target = moving.points[pairs[:, 0]], fixed.points[pairs[:, 1]]
    tolerance_px = _TOLERANCE_PX / fixed.scale
    similarity, agreeing = cv2.estimateAffinePartial2D(
        source,
        target,
        method=cv2.RANSAC,
        ransacReprojThreshold=tolerance_px,
        maxIters=_ITERATIONS,
        confidence=_CONFIDENCE,
    )
    chosen = np.zeros(matches, np.bool_) if similarity is None else agreeing.ravel() > 0
    inliers = int(chosen.sum())
    if not _enough(inliers, matches):
        return _not_found(_too_few(inliers, matches), matches, inliers)
    magnification = float(np.hypot(similarity[0, 0], similarity[1, 0]))
    if abs(magnification - 1) > MAX_SCALE_ERROR:
        reason = f"what one shows is {magnification:.2f} times as large in the other"
        return _not_found(reason, matches, inliers)
    matrix = fit_rigid(source[chosen], target[chosen])
    errors_px = np.linalg.norm(transform(source, matrix) - target, axis=1)
    inliers = int((errors_px <= tolerance_px).sum())
    if not _enough(inliers, matches):
        return _not_found(_too_few(inliers, matches), matches, inliers)
    covered = coverage(matrix, moving.frame_hw, fixed.frame_hw)
    if covered < MIN_COVERAGE:
        return _not_found(f"it would cover only {covered:.0%} of the frame", matches, inliers)
    return _found(matrix, matches, inliers, moving.frame_hw)


def match(moving: NDArray[np.float32], fixed: NDArray[np.float32], ratio: float) -> NDArray[np.intp]:
    """Landmarks that are each other's closest, and clearly closer than the second.

    Args:
        moving: Descriptors ``[n, D]``.
        fixed: Descriptors ``[m, D]``, at least two.
        ratio: See :data:`RATIO`.

    Returns:
        ``[k, 2]``, rows of the one and of the other.
    """
    # SIFT's entries are whole numbers to 255, so that float32 holds these sums exactly.
    squared = np.square(moving).sum(axis=1)[:, None] + np.square(fixed).sum(axis=1) - 2 * moving @ fixed.T
    rows = np.arange(len(moving))
    closest = squared.argmin(axis=1)
    mutual = squared.argmin(axis=0)[closest] == rows
    first = squared[rows, closest]
    squared[rows, closest] = np.inf
    clear = first < ratio**2 * squared.min(axis=1)
    chosen = rows[mutual & clear]
    return np.column_stack([chosen, closest[chosen]])


def fit_rigid(source: Points, target: Points) -> Matrix:
    """The rotation and shift that bring points closest to their targets in the least squares; no mirroring.

    Source: Kabsch, 1976.

    Args:
        source: ``[n, 2]``.
        target: ``[n, 2]``.

    Returns:
        ``[2, 3]``.
    """
    source_centre, target_centre = source.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((target - target_centre).T @ (source - source_centre))
    rotation = left @ np.diag([1.0, np.sign(np.linalg.det(left @ right))]) @ right
    return np.column_stack([rotation, target_centre - rotation @ source_centre])


def transform(points: Points, matrix: Matrix) -> Points:
    """Points ``[n, 2]`` moved by a matrix ``[2, 3]``."""
    moved: Points = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def warp(frame: Frame, alignment: Alignment, fixed_hw: tuple[int, int]) -> Frame:
    """Lay a frame over the fixed one; bilinear, borders reflected, as in :func:`edgead_runtime.views.rotate`.

    Args:
        frame: The moving frame ``[H, W, 3]`` uint8, BGR.
        alignment: To the fixed one; where none was found the frame stays where it is.
        fixed_hw: Size of the fixed frame (height, width).

    Returns:
        ``[*fixed_hw, 3]`` uint8, BGR; the frame itself where nothing has to be done.
    """
    height, width = fixed_hw
    if frame.shape[:2] == fixed_hw and np.array_equal(alignment.matrix, _identity()):
        return frame
    warped = cv2.warpAffine(
        frame, alignment.matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(warped, dtype=np.uint8)


def coverage(matrix: Matrix, moving_hw: tuple[int, int], fixed_hw: tuple[int, int]) -> float:
    """Share of the fixed frame that the moved one covers, counted on a grid of points."""
    steps = (np.arange(_COVERAGE_GRID) + 0.5) / _COVERAGE_GRID
    x, y = np.meshgrid(steps * fixed_hw[1], steps * fixed_hw[0])
    # The inverse of a rotation is its transpose.
    there = (np.column_stack([x.ravel(), y.ravel()]) - matrix[:, 2]) @ matrix[:, :2]
    inside = ((there >= 0) & (there <= moving_hw[::-1])).all(axis=1)
    return float(inside.mean())


def _needed(matches: int) -> int:
    return max(_MIN_INLIERS, math.ceil(_MIN_INLIER_SHARE * matches))


def _enough(inliers: int, matches: int) -> bool:
    return inliers >= _needed(matches)


def _too_few(inliers: int, matches: int) -> str:
    return f"only {inliers} of {matches} matches agree ({_needed(matches)} are needed)"


def _identity() -> Matrix:
    return np.eye(2, 3)


def _not_found(reason: str, matches: int = 0, inliers: int = 0) -> Alignment:
    return Alignment(_identity(), inliers, matches, 0.0, 0.0, reason, found=False)


def _found(matrix: Matrix, matches: int, inliers: int, moving_hw: tuple[int, int]) -> Alignment:
    rotation_deg = float(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])))
    centre = np.array([[(moving_hw[1] - 1) / 2, (moving_hw[0] - 1) / 2]])
    shift_px = float(np.linalg.norm(transform(centre, matrix) - centre))
    # Adding zero takes the sign from a zero.
    reason = (
        f"turned by {round(rotation_deg, 1) + 0.0} degrees, shifted by {shift_px:.0f} px; "
        f"{inliers} of {matches} matches agree"
    )
    return Alignment(matrix, inliers, matches, rotation_deg, shift_px, reason, found=True)
