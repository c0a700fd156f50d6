"""Areas of the picture that are judged each by itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.errors import ConfigError
from edgead_runtime.recipe import Point
from edgead_runtime.streaming.names import check_name


@dataclass(frozen=True)
class Zone:
    """A polygon with events of its own. Its score is the largest value of the map inside.

    With zones only they are judged, not the frame as a whole, and every frame's map is made (about 2 ms at
    1024 x 1024 pixels).
    """

    name: str
    polygon: tuple[Point, ...]
    """Corners (x, y) as shares of the frame's width and height."""
    min_area_px: int = 1
    """Pixels above the threshold inside that make a frame anomalous."""
    threshold: float | None = None
    """In units of the map; ``None``: the detector's pixel threshold."""

    def __post_init__(self) -> None:
        check_name(self.name, "a zone", spaces=True)
        if len(self.polygon) < 3 or not all(0 <= share <= 1 for corner in self.polygon for share in corner):
            raise ConfigError(
                f"zone {self.name}: the polygon is not three or more corners inside the frame",
                "Give corners as shares from 0 to 1: [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]].",
            )
        if self.min_area_px < 1:
            raise ConfigError(f"zone {self.name}: min_area_px is {self.min_area_px}", "Give 1 or more.")


def check_zones(zones: Sequence[Zone]) -> None:
    """Refuse two zones of one name.

    Raises:
        ConfigError: There are.
    """
    names = [zone.name for zone in zones]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two zones are named {twice[0]}", "Give each a name of its own.")


def measure_zone(zone: Zone, anomaly_map: NDArray[np.float32], threshold: float) -> tuple[float, int]:
    """The largest value of a map in a zone, and how many pixels are above the threshold.

    Args:
        zone: The area.
        anomaly_map: ``[H, W]``.
        threshold: In units of the map.
    """
    height, width = anomaly_map.shape
    inside = anomaly_map[_pixels(zone.polygon, height, width)]
    # Not "above": what is no number counts.
    return float(inside.max()), int((~(inside <= threshold)).sum())


@functools.lru_cache(maxsize=64)
def _pixels(polygon: tuple[Point, ...], height: int, width: int) -> NDArray[np.bool_]:
    drawn = np.zeros((height, width), dtype=np.uint8)
    corners = np.round(np.array(polygon) * (width - 1, height - 1)).astype(np.int32)
    cv2.fillPoly(drawn, [corners], 1)
    return drawn.astype(np.bool_)
