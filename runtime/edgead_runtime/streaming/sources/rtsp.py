"""Network cameras: ``rtsp://`` and the like, by PyAV where it is installed, else by OpenCV."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import cv2

from edgead_runtime.errors import SourceError, SourceLostError
from edgead_runtime.images import check_frame
from edgead_runtime.streaming.shown import shown_address
from edgead_runtime.streaming.sources.base import Grab, Session
from edgead_runtime.streaming.sources.opencv import LiveCapture

Decoder = Literal["auto", "av", "opencv"]


@dataclass(frozen=True)
class NetworkCamera:
    """A camera by its address.

    Args:
        url: ``rtsp://user:password@camera/path``; also http and udp, whatever FFmpeg opens.
        decoder: ``auto`` takes PyAV where it is installed, else OpenCV (docs/loop.md has the comparison).
        transport: ``tcp`` loses no packets and passes firewalls; ``udp`` is a little sooner on a good
            network, and needs PyAV.
        timeout_s: Without an answer or a frame for so long, the connection counts as lost.
    """

    url: str = field(repr=False)
    decoder: Decoder = "auto"
    transport: Literal["tcp", "udp"] = "tcp"
    timeout_s: float = 5.0
    live: bool = field(default=True, init=False)
    paces_itself: bool = field(default=False, init=False)

    @property
    def label(self) -> str:
        """The address without what lets somebody in."""
        return shown_address(self.url)

    @property
    def _by_av(self) -> bool:
        return self.decoder != "opencv" and find_spec("av") is not None

    def check(self) -> None:
        """Whether it could be opened as it is wanted, as far as that can be told without a network.

        Raises:
            SourceError: PyAV was asked for and is not installed, or udp, which takes it.
        """
        if self.decoder == "av" and not self._by_av:
            raise SourceError(
                "the decoder av is asked for and PyAV is not installed",
                'Install it: pip install "edgead-runtime[rtsp]", or take decoder = "opencv".',
            )
        if self.transport == "udp" and self.url.startswith("rtsp") and not self._by_av:
            # OpenCV asks for TCP whatever is wanted, but for a variable of the whole process's environment.
            raise SourceError(
                f"{self.label} is wanted over udp, which OpenCV does not do",
                'Install PyAV: pip install "edgead-runtime[rtsp]"'
                + (', and leave decoder = "opencv" out' if self.decoder == "opencv" else "")
                + ', or take transport = "tcp".',
            )

    def open(self) -> Session:
        """Connect.

        Raises:
            SourceLostError: It does not answer, or refuses.
            SourceError: See :meth:`check`.
        """
        self.check()
        if self._by_av:
            return _AvSession(self)
        limit_ms = int(self.timeout_s * 1000)
        settings = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            limit_ms,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            limit_ms,
        ]
        return LiveCapture(
            self.label,
            functools.partial(cv2.VideoCapture, self.url, cv2.CAP_FFMPEG, settings),
            _REMEDY,
        )


_REMEDY = "Check the address, the password and the network; it is tried again."


class _AvSession:
    def __init__(self, camera: NetworkCamera) -> None:
        import av

        self._label = camera.label
        self._errors: tuple[type[Exception], ...] = (av.FFmpegError, OSError)
        options = {"rtsp_transport": camera.transport, "fflags": "nobuffer", "flags": "low_delay"}
        try:
            self._container: Any = av.open(
                camera.url,
                options=options if camera.url.startswith("rtsp") else {},
                timeout=(camera.timeout_s, camera.timeout_s),
            )
        except self._errors as error:
            # Without its cause, here and below: whoever prints a traceback would print the password.
            raise SourceLostError(f"{self._label} cannot be opened ({_reason(error)})", _REMEDY) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{self._label} has no picture", "Give the address of a video stream.")
        video = self._container.streams.video[0]
        video.thread_type = "SLICE"  # threads by frame hold back as many frames as there are threads
        self._frames = self._container.decode(video)

    def read(self) -> Grab:
        try:
            frame = next(self._frames)
        except StopIteration:
            raise SourceLostError(f"{self._label} ended", _REMEDY) from None
        except self._errors as error:
            raise SourceLostError(f"{self._label} broke off ({_reason(error)})", _REMEDY) from None
        return Grab(check_frame(frame.to_ndarray(format="bgr24")))

    def close(self) -> None:
        self._container.close()


def _reason(error: Exception) -> str:
    # PyAV's own text repeats the address, and with it the password.
    return getattr(error, "strerror", None) or type(error).__name__
