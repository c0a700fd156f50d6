"""What a frame looks like as a whole: brightness, sharpness, and a small copy to tell a shift by."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.images import Frame

POSITION_SIDE = 128
"""Side of the copy that shifts are measured on; one of its pixels is 0.8 % of the frame, and the peak is
found to a tenth of that."""
_LONGEST_SIDE = 256


@dataclass(frozen=True, eq=False)
class Look:
    """A frame as a whole."""

    brightness: float
    """Mean grey level, 0 to 255."""
    sharpness: float
    """See :func:`sharpness_of`; 0 where the frame has no contrast at all."""
    small: NDArray[np.float32]
    """``[128, 128]``, grey, mean 0 and standard deviation 1, squeezed to a square."""


def look_at(frame: Frame) -> Look:
    """Measure a frame.

    Args:
        frame: ``[H, W, 3]`` uint8, BGR.
    """
    grey = _grey_copy(frame)
    return Look(float(cv2.mean(grey)[0]), sharpness_of(grey), _position_copy(grey))


def _grey_copy(frame: Frame) -> NDArray[np.uint8]:
    """Grey, halved until its longest side is below 256 pixels.

    That takes most of the sensor's noise, which on a smooth part would be most of the sharpness. Halving is
    the resize that OpenCV is fastest at.
    """
    grey = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    while max(grey.shape) >= _LONGEST_SIDE:
        grey = _halved(grey)
    return grey


def _halved(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = max(1, grey.shape[1] // 2), max(1, grey.shape[0] // 2)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def sharpness_of(grey: NDArray[np.uint8]) -> float:
    """Energy of the Laplacian over the energy of the gradient.

    The variance of the Laplacian alone is the usual measure of focus, but it grows with the square of the
    scene's contrast: a darker picture would pass for a blurred one. Over the gradient's energy, contrast and
    brightness cancel, and what is left is how fast grey levels change where they change (the mean squared
    frequency, weighted by the gradient). The grey levels' own variance would cancel them as well, but says
    more of how large a part is than of how sharp.

    Args:
        grey: ``[h, w]``.

    Returns:
        0 where nothing changes; white noise alone gives 5.
    """
    # Differences of neighbours by two views of one picture: nothing is copied.
    across = cv2.norm(grey[:, 1:], grey[:, :-1], cv2.NORM_L2SQR)
    down = cv2.norm(grey[1:], grey[:-1], cv2.NORM_L2SQR)
    laplacian = cv2.norm(cv2.Laplacian(grey, cv2.CV_16S), cv2.NORM_L2SQR)
    return float(laplacian / (across + down)) if across + down > 0 else 0.0


def _position_copy(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Enlarged or shrunk by less than a half from here, so that linear interpolation skips nothing.
    small = cv2.resize(grey, (POSITION_SIDE, POSITION_SIDE), interpolation=cv2.INTER_LINEAR)
    values = np.asarray(small, dtype=np.float32)
    values -= values.mean()
    return values / max(float(values.std()), 1e-6)
