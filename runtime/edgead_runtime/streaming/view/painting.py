"""One inspected frame as the page gets it: a small JPEG, and beside it what is drawn over it.

The map travels as numbers and is painted by the page, so that it can be switched off there without another
word, and so that a part is not compressed together with the paint on it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.errors import EdgeadError
from edgead_runtime.images import Frame
from edgead_runtime.result import Result
from edgead_runtime.streaming.clock import stamp
from edgead_runtime.streaming.frames import CameraFrame

HEAT_SIDE_PX = 96
"""Longest side of the map as it travels: it was upsampled from some dozens of patches."""
HEAT_FULL_SCALE = 2.0
"""Multiple of the pixel threshold that is the largest number; where the report's colours end as well."""
_JPEG_QUALITY = 80
_BOXES = 20


def paint(
    camera: str,
    frame: CameraFrame,
    result: Result | None,
    failure: EdgeadError | None = None,
    *,
    run: str = "",
    max_side_px: int = 960,
) -> bytes:
    """A frame with its result as one message.

    Four bytes (big endian) with the length of a JSON object, that object, a JPEG, and the map as one byte a
    place, row by row. The object says how long the JPEG is (0: there is no picture) and how many columns and
    rows the map has (``null``: none).

    Args:
        camera: Its name.
        frame: What was captured.
        result: What the detector says; ``None``: it was not inspected.
        failure: Why not.
        run: Of the loop; who speaks of the frame gives it back.
        max_side_px: Longest side of the JPEG.
    """
    header: dict[str, Any] = {
        "camera": camera,
        "run": run,
        "sequence": frame.sequence,
        "name": frame.name,
        "captured_at": stamp(frame.captured_at),
        "frozen": frame.frozen,
        "size": None,
        "heat": None,
        "inspected": result is not None,
        "failure": None if failure is None else str(failure),
    }
    jpeg = heat = b""
    if frame.image is not None:
        jpeg = encode_small(frame.image, max_side_px)
        header["size"] = [frame.image.shape[1], frame.image.shape[0]]
    if result is not None:
        levels = heat_levels(result.map, result.pixel_threshold)
        heat = levels.tobytes()
        header |= {
            "heat": [levels.shape[1], levels.shape[0]],
            "score": finite(result.score),
            "threshold": finite(result.threshold),
            "anomaly": result.is_anomaly,
            "boxes": [[box.x, box.y, box.width, box.height] for box in result.regions[:_BOXES]],
            "degraded": list(result.degraded),
            "notes": list(result.notes),
        }
    header["jpeg"] = len(jpeg)
    words = json.dumps(header).encode()
    return len(words).to_bytes(4, "big") + words + jpeg + heat


def encode_small(image: Frame, max_side_px: int) -> bytes:
    """A frame ``[H, W, 3]`` BGR as JPEG, with its longest side at most so long."""
    shrink = min(1.0, max_side_px / max(image.shape[:2]))
    if shrink < 1:
        size = max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes()


def heat_levels(anomaly_map: NDArray[np.float32], pixel_threshold: float) -> NDArray[np.uint8]:
    """A map on the scale of :data:`HEAT_FULL_SCALE`, small; what is no number is the largest.

    Args:
        anomaly_map: ``[H, W]`` in units of patch distance.
        pixel_threshold: Of the setting that made it.
    """
    height, width = anomaly_map.shape
    shrink = min(1.0, HEAT_SIDE_PX / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = cv2.resize(anomaly_map, size, interpolation=cv2.INTER_AREA)
    full_scale = HEAT_FULL_SCALE * max(pixel_threshold, float(np.finfo(np.float32).tiny))
    with np.errstate(over="ignore"):
        levels = np.nan_to_num(np.clip(small / full_scale, 0, 1), nan=1.0)
    return np.asarray((levels * 255).round(), dtype=np.uint8)


def finite(number: float) -> float | None:
    """As JSON has it, which knows no NaN."""
    return round(float(number), 6) if math.isfinite(number) else None
