"""From patch distances to a map at the size of the frame, and from the map to regions."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.blas_threads import one_blas_thread

_GAUSSIAN_TRUNCATE = 4.0
_PEAK_SHARE = 0.9


@dataclass(frozen=True)
class Region:
    """A connected area of the map above the pixel threshold; pixels of the frame."""

    x: int
    y: int
    width: int
    height: int
    area_px: int
    peak: float
    """Largest map value inside."""


def make_map(
    distances: NDArray[np.float32],
    frame_hw: tuple[int, int],
    sigma_px: float,
    *,
    inspected_hw: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Upsample patch distances to the frame and smooth them.

    Bilinear with half-pixel centres, then a Gaussian in frame pixels, reflected at the border and
    truncated at four sigma. Source: AnomalyDINO, section 3.3 and release. Both are linear and separable, so
    all of it is one small matrix from the left and one from the right, which is many times faster than
    resizing and filtering a picture of the frame's size (``python -m benchmarks.maps``).

    Args:
        distances: ``[rows, columns]``.
        frame_hw: Size of the frame (height, width).
        sigma_px: Standard deviation in pixels of the frame; 0 for none.
        inspected_hw: The part of the frame, from its top left, that the patches cover; the rest of the map
            is 0. ``None``: all of it.

    Returns:
        ``[H, W]`` float32.
    """
    height, width = inspected_hw or frame_hw
    down = axis_matrix(distances.shape[0], height, sigma_px)
    across = axis_matrix(distances.shape[1], width, sigma_px)
    with one_blas_thread():  # a second one saves a millisecond here and costs the next encode dozens
        upsampled: NDArray[np.float32] = (down @ distances.astype(np.float32, copy=False)) @ across.T
    if (height, width) == frame_hw:
        return upsampled
    anomaly_map = np.zeros(frame_hw, dtype=np.float32)
    anomaly_map[:height, :width] = upsampled
    return anomaly_map


@functools.lru_cache(maxsize=32)
def axis_matrix(patches: int, pixels: int, sigma_px: float) -> NDArray[np.float32]:
    """What upsampling and smoothing do along one axis, ``[pixels, patches]``; not to be written to.

    Args:
        patches: Along the axis.
        pixels: Along the axis.
        sigma_px: Standard deviation in pixels; 0 for none.
    """
    # Each column is what becomes of one patch alone. In double precision: it is made once.
    matrix = cv2.resize(np.eye(patches), (patches, pixels), interpolation=cv2.INTER_LINEAR)
    if sigma_px > 0:
        size = 2 * int(_GAUSSIAN_TRUNCATE * sigma_px + 0.5) + 1
        kernel = cv2.getGaussianKernel(size, sigma_px)
        matrix = cv2.sepFilter2D(matrix, -1, np.ones(1), kernel, borderType=cv2.BORDER_REFLECT)
    made: NDArray[np.float32] = matrix.reshape(pixels, patches).astype(np.float32)
    made.flags.writeable = False
    return made


def find_regions(
    anomaly_map: NDArray[np.float32], pixel_threshold: float, *, at_least_one: bool = False
) -> tuple[Region, ...]:
    """Connected areas (8-neighbourhood) above a threshold, strongest first.

    Args:
        anomaly_map: ``[H, W]``.
        pixel_threshold: In units of patch distance.
        at_least_one: Where nothing is above the threshold, return the area around the peak that reaches
            90 % of it: a frame that raised an alarm always shows where.
    """
    regions = _components(anomaly_map, anomaly_map > pixel_threshold)
    if regions or not at_least_one:
        return regions
    return _components(anomaly_map, anomaly_map >= _PEAK_SHARE * float(anomaly_map.max()))[:1]


def _components(anomaly_map: NDArray[np.float32], above: NDArray[np.bool_]) -> tuple[Region, ...]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    regions = []
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        window = (slice(y, y + height), slice(x, x + width))
        peak = float(anomaly_map[window][labels[window] == label].max())
        regions.append(Region(x=x, y=y, width=width, height=height, area_px=area, peak=peak))
    return tuple(sorted(regions, key=lambda region: -region.peak))
