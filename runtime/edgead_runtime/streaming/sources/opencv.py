"""Video files, webcams and GStreamer pipelines, by OpenCV."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead_runtime.errors import PictureError, SourceError, SourceLostError
from edgead_runtime.images import Frame, check_frame
from edgead_runtime.streaming.sources.base import EndOfSourceError, Grab

_MISSING_AT_END = 2
"""Frames that a container may promise beyond what it holds, without being damaged."""


@dataclass(frozen=True)
class VideoFile:
    """A video file; ends with its last frame.

    Args:
        path: Anything that this OpenCV decodes.
        as_camera: Play it at its own rate, so that frames not taken in time are dropped, as a camera's are.
        repeat: Begin again at the end, for ever.
    """

    path: Path
    as_camera: bool = False
    repeat: bool = False
    paces_itself: bool = field(default=False, init=False)

    @property
    def label(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def live(self) -> bool:
        """Whether it goes on without us."""
        return self.as_camera

    def open(self) -> _Playing:
        """Open it.

        Raises:
            SourceError: There is no such file, or it is no video that this OpenCV decodes.
        """
        if not self.path.is_file():
            raise SourceError(f"there is no video {self.path}", "Check the path.")
        return _Playing(self)


class _Playing:
    def __init__(self, video: VideoFile) -> None:
        self._video = video
        self._capture = self._opened()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._period_s = 1 / rate if video.as_camera and rate > 0 else 0.0
        self._promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._read = 0
        self._due = time.monotonic()

    def _opened(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._video.path), cv2.CAP_ANY)
        if not capture.isOpened():
            raise SourceError(
                f"{self._video.path} is not a video that OpenCV {cv2.__version__} can decode",
                "Check that it is whole, or convert it to H.264 or Motion JPEG.",
            )
        return capture

    def read(self) -> Grab:
        self._wait_until_due()
        there, image = self._capture.read()
        if not there:
            return self._at_the_end()
        self._read += 1
        return Grab(_bgr(image))

    def _at_the_end(self) -> Grab:
        if 0 < self._promised - self._read > _MISSING_AT_END or self._read == 0:
            # Not a good end: the rest was never inspected.
            raise SourceError(
                f"{self._video.path} ends at frame {self._read} of {self._promised}: it is damaged",
                "Copy it again, or inspect what is left by converting it first.",
            )
        if not self._video.repeat:
            raise EndOfSourceError
        self._capture.release()
        self._capture, self._read = self._opened(), 0
        return self.read()

    def _wait_until_due(self) -> None:
        if self._period_s == 0:
            return
        now = time.monotonic()
        # A pause (a suspended machine) is not made up for by a burst.
        self._due = max(self._due + self._period_s, now - self._period_s)
        if self._due > now:
            time.sleep(self._due - now)

    def close(self) -> None:
        self._capture.release()


@dataclass(frozen=True)
class Webcam:
    """A camera of this machine by its number, as OpenCV counts them."""

    index: int
    width: int | None = None
    height: int | None = None
    """Asked of the driver, which may give another size."""
    live: bool = field(default=True, init=False)
    paces_itself: bool = field(default=False, init=False)

    @property
    def label(self) -> str:
        """``camera 0``."""
        return f"camera {self.index}"

    def open(self) -> LiveCapture:
        """Open it.

        Raises:
            SourceLostError: It is not there now, or in use.
        """
        settings = []
        if self.width and self.height:
            settings = [cv2.CAP_PROP_FRAME_WIDTH, self.width, cv2.CAP_PROP_FRAME_HEIGHT, self.height]
        return LiveCapture(
            self.label,
            functools.partial(cv2.VideoCapture, self.index, cv2.CAP_ANY, settings),
            "Plug it in, close what else uses it, and see that this user may open /dev/video*."
            if sys.platform == "linux"
            else "Plug it in, and close what else uses it.",
        )


@dataclass(frozen=True)
class GStreamerPipeline:
    """A GStreamer pipeline; ends in ``appsink`` and gives BGR.

    Example, a Jetson's CSI camera::

        nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 !
        nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR !
        appsink drop=true max-buffers=1 sync=false
    """

    pipeline: str
    live: bool = field(default=True, init=False)
    paces_itself: bool = field(default=False, init=False)

    @property
    def label(self) -> str:
        """Its first element."""
        return f"gstreamer {self.pipeline.split('!', 1)[0].split()[0]}"

    def open(self) -> LiveCapture:
        """Start it.

        Raises:
            SourceError: This OpenCV has no GStreamer, or the pipeline has no appsink.
            SourceLostError: It does not start now.
        """
        if not has_gstreamer():
            raise SourceError(
                f"this OpenCV ({cv2.__version__}) was built without GStreamer, so it cannot open a pipeline",
                "The wheels from PyPI have none; JetPack's own and Debian's python3-opencv do. "
                "For a network camera, give its rtsp:// address instead.",
            )
        if "appsink" not in self.pipeline:
            raise SourceError(
                "the GStreamer pipeline has no appsink", "End it with: ! appsink drop=true max-buffers=1."
            )
        return LiveCapture(
            self.label,
            functools.partial(cv2.VideoCapture, self.pipeline, cv2.CAP_GSTREAMER),
            "Try the pipeline with gst-launch-1.0.",
        )


def has_gstreamer() -> bool:
    """Whether this OpenCV can open GStreamer pipelines."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


class LiveCapture:
    """An open ``cv2.VideoCapture`` that should never end."""

    def __init__(self, label: str, connect: Callable[[], Any], remedy: str) -> None:
        self._label, self._remedy = label, remedy
        self._capture = connect()
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceLostError(f"{label} cannot be opened", remedy)

    def read(self) -> Grab:
        """The next frame."""
        there, image = self._capture.read()
        if not there:
            raise SourceLostError(f"{self._label} gives no more frames", self._remedy)
        return Grab(_bgr(image))

    def close(self) -> None:
        """Release it."""
        self._capture.release()


def _bgr(image: Any) -> Frame:
    """What OpenCV read, as a frame; grey becomes three equal channels."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if not isinstance(image, np.ndarray):
        raise PictureError("the camera gave something that is no picture", "Check its pixel format.")
    return check_frame(image)
