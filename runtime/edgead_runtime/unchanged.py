"""A camera that looks at a scene at rest: the last answer again, instead of encoding the same frame again.

A line that stops, or a part that lies under the camera for many frames, costs nothing this way. What is
compared with is the last frame that was *inspected*, never the last one seen, so that a slow drift adds up
until it is noticed.

The object has a state and belongs to one stream of frames; a :class:`~edgead_runtime.Detector` is shared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.device_frames import check_host_frame
from edgead_runtime.errors import EdgeadError, PictureError
from edgead_runtime.images import Frame
from edgead_runtime.result import Result

if TYPE_CHECKING:
    from edgead_runtime.detector import Detector

_LONGEST_SIDE = 256
_BLOCK = 4
"""Pixels of the small frame on a side of a block: of a frame of 1024 pixels, 16 of its own."""
_HEADROOM = 1.5
"""Over the noise that was seen: a few frames do not show the worst of it."""
_MOST_NOISE = 6.0
"""Grey levels: what a noisy camera needs on a small frame. No limit keeps it apart from parts that are alike:
those may differ by less than this where they differ most."""


def largest_change(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How much two small frames differ where they differ most.

    The mean absolute difference over blocks of 4 x 4 pixels, the largest over blocks (at every place, so that
    nothing hides on the border of two) and channels.

    Args:
        one: From :func:`small_frame`.
        other: Of the same shape.

    Returns:
        In grey levels, 0 to 255.
    """
    difference = cv2.absdiff(one, other)
    means = cv2.boxFilter(difference, cv2.CV_32F, (_BLOCK, _BLOCK), borderType=cv2.BORDER_REFLECT_101)
    return float(means.max())


def small_frame(frame: Frame) -> NDArray[np.uint8]:
    """The frame halved until its longest side is below 512 pixels; averaging takes most of the noise.

    Halving is the resize that OpenCV is fastest at: four times as fast as one to the same size at once.
    """
    small = np.array(frame) if max(frame.shape[:2]) < 2 * _LONGEST_SIDE else frame  # may be a buffer
    while max(small.shape[:2]) >= 2 * _LONGEST_SIDE:
        size = max(1, small.shape[1] // 2), max(1, small.shape[0] // 2)
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return small


def smallest_spot(frame_hw: tuple[int, int], tolerance: float = 2.0, contrast: float = 255.0) -> float:
    """How large a spot must be on a scene at rest to be noticed, about.

    The mean over a block is compared, and a block is four pixels of the frame made small: of a frame of 2048
    pixels 32 of its own.

    Args:
        frame_hw: Of the camera (height, width).
        tolerance: In grey levels.
        contrast: By how many levels the spot differs from what was there.

    Returns:
        Side of a square in pixels of the frame. Infinite where the contrast is within the tolerance.
    """
    if contrast <= tolerance:
        return math.inf
    longest, shrunk = max(frame_hw), 1
    while longest >= 2 * _LONGEST_SIDE:
        longest, shrunk = longest // 2, 2 * shrunk
    return shrunk * _BLOCK * math.sqrt(tolerance / contrast)


def tolerance_from(frames: Sequence[Frame]) -> float:
    """What a scene at rest varies by, with headroom: a tolerance for :class:`UnchangedFrames`.

    Args:
        frames: At least three of a scene at rest, of one size, as ``[H, W, 3]`` uint8.

    Returns:
        One and a half times the largest change from the first to any other, in grey levels.

    Raises:
        PictureError: They are too few or of different sizes, or it is no scene at rest.
    """
    if len(frames) < 3 or len({frame.shape for frame in frames}) > 1:
        raise PictureError(
            "noise is measured on at least three frames of one size", "Give more frames of a scene at rest."
        )
    small = [small_frame(frame) for frame in frames]
    seen = max(largest_change(small[0], other) for other in small[1:])
    if seen * _HEADROOM > _MOST_NOISE:
        raise PictureError(
            f"these frames differ by {seen:.1f} levels somewhere, so the scene was not at rest",
            "Give frames in which nothing moves and the light is steady.",
        )
    return seen * _HEADROOM


class UnchangedFrames:
    """Answers with the last result while the frame does not change; for one stream, not thread-safe.

    A frame is inspected if its size changed, if it differs from the last *inspected* one by more than the
    tolerance anywhere (:func:`largest_change`), if the detector has learned or its threshold was changed
    since, or if the last result was degraded by a latency budget.

    What it may miss is whatever changes no block by more than the tolerance: a small or faint defect on a
    part at rest (:func:`smallest_spot` says how small, which grows with the frame), and in principle another
    part that lies exactly where the last one lay. Where something says that there is another part, a trigger
    say, call :meth:`forget`.

    Example:
        >>> look = UnchangedFrames(detector, tolerance=2.0)   # doctest: +SKIP
        >>> for frame in camera:                              # doctest: +SKIP
        ...     result = look(frame)
        ...     if not result.repeated: ...
    """

    def __init__(self, detector: Detector, tolerance: float = 2.0) -> None:
        """Begin a stream.

        Args:
            detector: What inspects the frames that changed.
            tolerance: In grey levels; 0 repeats the answer for the very same pixels alone. See
                :func:`tolerance_from`.

        Raises:
            EdgeadError: The tolerance is no number from 0 to 6.
        """
        if not 0 <= tolerance <= _MOST_NOISE:
            raise EdgeadError(
                f"a tolerance of {tolerance} grey levels makes no sense",
                f"Give 0 to {_MOST_NOISE:g}, or measure it with tolerance_from.",
            )
        self.detector = detector
        self.tolerance = tolerance
        self.inspected = 0
        """Frames that were inspected."""
        self.repeated = 0
        """Frames that were answered with an earlier result."""
        self._last: tuple[tuple[int, ...], NDArray[np.uint8], Result, object] | None = None

    def __call__(self, frame: Frame) -> Result:
        """Inspect a frame, or say again what was said of it.

        Args:
            frame: ``[H, W, 3]`` uint8, BGR.

        Returns:
            A result; ``repeated`` says whether it is that of an earlier frame.

        Raises:
            PictureError: It is not such an array.
            FrameSizeError: As the detector.
        """
        check_host_frame(
            frame,
            "whether it has changed is seen on the host",
            "give it to the detector itself (skip_unchanged off)",
        )
        start = time.perf_counter()
        small, state = small_frame(frame), self.detector.state
        if self._last is not None:
            shape, before, result, known = self._last
            same = known is state and not result.degraded and shape == frame.shape
            if same and largest_change(before, small) <= self.tolerance:
                self.repeated += 1
                return _again(result, (time.perf_counter() - start) * 1e3)
        self._last = None  # a frame that cannot be inspected leaves nothing to repeat
        result = self.detector(frame)
        self.inspected += 1
        self._last = frame.shape, small, result, state
        return result

    def forget(self) -> None:
        """Inspect the next frame whatever it shows: to be called when another part lies there."""
        self._last = None


def _again(result: Result, ms: float) -> Result:
    """The same answer; its map is made once, for whoever asks first."""
    return replace(
        result,
        repeated=True,
        _make_map=lambda: result.map,
        _find_regions=lambda *_: result.regions,
        _timings_ms={"compare": ms},
    )
