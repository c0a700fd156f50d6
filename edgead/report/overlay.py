"""The anomaly map laid over its picture, on a scale that is the same for every picture.

Colours are tied to the detector's pixel threshold and never to the picture at hand: a scale stretched to
each picture's own maximum would paint a good part as red as a broken one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
from edgead_runtime.anomaly_map import Region
from edgead_runtime.images import Frame
from numpy.typing import NDArray

SHOWN_FROM = 0.5
"""Multiple of the pixel threshold below which nothing is painted."""
SATURATED_AT = 2.0
"""Multiple of the pixel threshold from which the colour no longer changes."""
MAX_OPACITY = 0.6
"""The part always shines through."""
VIEW_PX = (600, 1600)
"""Longest side of an overlay: enough for thin boxes, and no more than an eye needs."""

Pixel = TypeVar("Pixel", np.uint8, np.float32)

_BOX_BGR = (255, 255, 255)
_BOX_EDGE_BGR = (30, 30, 30)
# Plasma grows evenly in lightness and survives colour blindness. Its dark start would look like a shadow
# on a grey part and its pale end like a highlight, so both are left out.
_PALETTE_RANGE = (80, 240)


def _palette() -> NDArray[np.uint8]:
    ramp = np.linspace(*_PALETTE_RANGE, 256).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(ramp[:, None], cv2.COLORMAP_PLASMA), dtype=np.uint8).reshape(256, 3)


def palette_hex(steps: int) -> list[str]:
    """The overlay's colours from weakest to strongest as ``#rrggbb``, for a legend."""
    chosen = _palette()[np.linspace(0, 255, steps).astype(int)]
    return [f"#{red:02x}{green:02x}{blue:02x}" for blue, green, red in chosen.tolist()]


def heat_level(distances: NDArray[np.float32], pixel_threshold: float) -> NDArray[np.float32]:
    """Where distances lie on the fixed scale: 0 up to :data:`SHOWN_FROM`, 1 from :data:`SATURATED_AT`."""
    multiple = distances / max(pixel_threshold, np.finfo(np.float32).tiny)
    level: NDArray[np.float32] = np.clip((multiple - SHOWN_FROM) / (SATURATED_AT - SHOWN_FROM), 0, 1)
    return level


def fit_longest_side(image: NDArray[Pixel], smallest_px: int, largest_px: int) -> NDArray[Pixel]:
    """Scale a picture or map so that its longest side lies between two sizes; aspect kept."""
    height, width = image.shape[:2]
    longest = max(height, width)
    wanted = min(max(longest, smallest_px), largest_px)
    if wanted == longest:
        return image
    size = (max(1, round(width * wanted / longest)), max(1, round(height * wanted / longest)))
    smooth = cv2.INTER_AREA if wanted < longest else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=smooth), dtype=image.dtype)


def draw_overlay(
    frame: Frame,
    anomaly_map: NDArray[np.float32],
    pixel_threshold: float,
    regions: Sequence[Region] = (),
) -> Frame:
    """Paint the anomaly map and its regions over a frame.

    Args:
        frame: ``[H, W, 3]`` uint8, BGR; not changed.
        anomaly_map: ``[H, W]`` in units of patch distance.
        pixel_threshold: The detector's; fixes the scale.
        regions: Boxed with a thin outline.

    Returns:
        ``[h, w, 3]`` uint8, BGR; the size of the frame, scaled to :data:`VIEW_PX` where it lies outside.
    """
    canvas = fit_longest_side(frame, *VIEW_PX).astype(np.float32)
    level = heat_level(fit_longest_side(anomaly_map, *VIEW_PX), pixel_threshold)
    at_threshold = (1 - SHOWN_FROM) / (SATURATED_AT - SHOWN_FROM)
    # Opacity is full from the pixel threshold on; above it only the colour goes on changing.
    opacity = MAX_OPACITY * np.minimum(level / at_threshold, 1)[:, :, None]
    colour = _palette()[(level * 255).round().astype(np.uint8)]
    painted: Frame = (canvas * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    scale = painted.shape[1] / frame.shape[1]
    for region in regions:
        _box(painted, region, scale)
    return painted


def _box(canvas: Frame, region: Region, scale: float) -> None:
    thickness = round(max(canvas.shape[:2]) / 300)
    top_left = (round(region.x * scale), round(region.y * scale))
    bottom_right = (
        round((region.x + region.width) * scale) - 1,
        round((region.y + region.height) * scale) - 1,
    )
    # A dark rim under the light line keeps it visible on any part.
    cv2.rectangle(canvas, top_left, bottom_right, _BOX_EDGE_BGR, thickness + 2)
    cv2.rectangle(canvas, top_left, bottom_right, _BOX_BGR, thickness)
