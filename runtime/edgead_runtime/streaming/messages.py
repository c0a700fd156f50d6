"""What the loop tells the world: plain data that can wait on a disk, and pictures made when needed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgead_runtime.images import encode_jpeg

MAP_SIDE_PX = 256
PICTURE = "picture.jpg"
MAP = "map.png"

KINDS = ("event", "trouble", "drift", "learned", "unlearned", "loss")
"""Of the messages that there are, see :class:`Message`; ``loss`` is the outbox's own."""

Attachment = Callable[[], bytes]


@dataclass(frozen=True)
class Message:
    """One thing that happened.

    Kinds so far: ``event`` (an anomaly opened, was updated, closed), ``trouble`` (something is wrong with a
    camera or the engine, or no longer), ``drift`` (a camera no longer sees what it saw at enrolment),
    ``learned`` and ``unlearned`` (somebody taught it, or took that back). What comes later, or an integrator
    tells, is another kind with another body; outbox and sinks pass it on as it is.
    """

    kind: str
    camera: str
    key: str
    """Of what this speaks: an event's id, a trouble's name. ``opened`` and ``closed`` share it."""
    state: str
    """``opened``, ``updated`` or ``closed``."""
    at: str
    """Wall clock, ISO 8601 UTC."""
    body: Mapping[str, Any]
    """Plain data; becomes JSON."""
    attachments: Mapping[str, Attachment] = field(default_factory=dict, repr=False)
    """File name -> what makes its bytes; made in the thread that writes the outbox."""


def picture_and_map(
    image: NDArray[np.uint8], make_map: Callable[[], NDArray[np.float32]], full_scale: float
) -> dict[str, Attachment]:
    """Attachments: the picture as JPEG, its map as a grey PNG of at most 256 pixels a side.

    Args:
        image: ``[H, W, 3]`` uint8, BGR.
        make_map: Gives the anomaly map ``[H, W]``.
        full_scale: What is white in the PNG, in units of the map.
    """
    return {
        PICTURE: lambda: encode_jpeg(image),
        MAP: lambda: encode_map(make_map(), full_scale),
    }


def encode_map(anomaly_map: NDArray[np.float32], full_scale: float) -> bytes:
    """A map as a small grey PNG. It was upsampled from patches, so that little is lost by its being small.

    Args:
        anomaly_map: ``[H, W]``.
        full_scale: What is white.
    """
    height, width = anomaly_map.shape
    shrink = min(1.0, MAP_SIDE_PX / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(anomaly_map, size, interpolation=cv2.INTER_AREA)
    grey = np.nan_to_num(np.clip(small / max(full_scale, 1e-12), 0, 1), nan=1.0)
    buffer = io.BytesIO()
    Image.fromarray((grey * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
