"""From patch distances to a map at the size of the frame, and from the map to regions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

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
    smooth_at: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Upsample patch distances to the frame and smooth them.

    Bilinear with half-pixel centres, then a Gaussian in frame pixels, reflected at the border and
    truncated at four sigma. Source: AnomalyDINO, section 3.3 and release.

    Args:
        distances: ``[rows, columns]``.
        frame_hw: Size of the frame (height, width).
        sigma_px: Standard deviation in pixels of the frame; 0 for none.
        inspected_hw: The part of the frame, from its top left, that the patches cover; the rest of the map
            is 0. ``None``: all of it.
        smooth_at: Size (height, width) at which to smooth, with sigma scaled, before the map is brought to
            the size of the frame: faster where that is larger. ``None``: at the size of the frame.

    Returns:
        ``[H, W]`` float32.
    """
    height, width = inspected_hw or frame_hw
    small = np.ascontiguousarray(distances, dtype=np.float32)
    at = (height, width)
    if smooth_at is not None and sigma_px > 0 and smooth_at[0] < height and smooth_at[1] < width:
        at = smooth_at
    upsampled = cv2.resize(small, (at[1], at[0]), interpolation=cv2.INTER_LINEAR)
    if sigma_px > 0:
        sigmas = sigma_px * at[1] / width, sigma_px * at[0] / height
        size = tuple(2 * int(_GAUSSIAN_TRUNCATE * sigma + 0.5) + 1 for sigma in sigmas)
        upsampled = cv2.GaussianBlur(
            upsampled, size, sigmaX=sigmas[0], sigmaY=sigmas[1], borderType=cv2.BORDER_REFLECT
        )
    if at != (height, width):
        upsampled = cv2.resize(upsampled, (width, height), interpolation=cv2.INTER_LINEAR)
    if (height, width) == frame_hw:
        return np.asarray(upsampled, dtype=np.float32)
    anomaly_map = np.zeros(frame_hw, dtype=np.float32)
    anomaly_map[:height, :width] = upsampled
    return anomaly_map


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
