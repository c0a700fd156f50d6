"""What is done to a frame on its way in: the crop, and whether it is the same as before."""

from __future__ import annotations

import zlib

import numpy as np

from edgead_runtime.errors import PictureError
from edgead_runtime.images import Frame

_SAMPLES_ACROSS = 128


class Stillness:
    """For how long pictures have been equal at some 16,000 places, which a sensor's noise never is."""

    def __init__(self) -> None:
        self._digest: tuple[object, ...] = ()
        self._since = 0.0

    def seconds(self, image: Frame, now: float) -> float:
        """For how long it has been the same, after this one, which came at ``now``."""
        step = max(1, min(image.shape[:2]) // _SAMPLES_ACROSS)
        digest = (image.shape, zlib.crc32(np.ascontiguousarray(image[::step, ::step]).data))
        if digest != self._digest:
            self._digest, self._since = digest, now
        return now - self._since


def cropped(image: Frame, crop: tuple[int, int, int, int] | None) -> Frame:
    """The part ``(x, y, width, height)`` of a frame, contiguous; all of it for ``None``.

    Raises:
        PictureError: The part is not inside the frame.
    """
    if crop is None:
        return image
    x, y, width, height = crop
    if x + width > image.shape[1] or y + height > image.shape[0]:
        raise PictureError(
            f"the crop {list(crop)} is not inside the frame of {image.shape[1]} x {image.shape[0]} pixels",
            "Set the camera to the size it had, or mend the crop.",
        )
    return np.ascontiguousarray(image[y : y + height, x : x + width])
