"""A source from the text that a person types."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from edgead_runtime.errors import SourceError
from edgead_runtime.images import PICTURE_SUFFIXES, Frame, Picture
from edgead_runtime.streaming.shown import without_secrets
from edgead_runtime.streaming.sources.base import Source
from edgead_runtime.streaming.sources.files import Pictures, WatchedFolder
from edgead_runtime.streaming.sources.iterables import Frames
from edgead_runtime.streaming.sources.opencv import GStreamerPipeline, VideoFile, Webcam
from edgead_runtime.streaming.sources.played import PlayedPictures
from edgead_runtime.streaming.sources.rtsp import NetworkCamera

_ADDRESSES = ("rtsp://", "rtsps://", "http://", "https://", "udp://", "tcp://", "rtmp://", "srt://")


def source_from_text(text: str) -> Source:
    """Understand what a person calls a source.

    ``0``: a webcam. ``rtsp://...``: a network camera. ``a ! b ! appsink``: a GStreamer pipeline.
    ``watch:FOLDER``: a folder that is being filled. A folder or a picture: its pictures. Another file: a
    video; ``play:FILE`` plays it as a camera, over and over, and ``play:FOLDER`` its pictures, one a second.

    Raises:
        SourceError: It is none of these, or a path that is not there.
    """
    text = text.strip()
    if text.isdecimal():
        return Webcam(int(text))
    if text.lower().startswith(_ADDRESSES):
        scheme, _, rest = text.partition("://")
        return NetworkCamera(f"{scheme.lower()}://{rest}")  # FFmpeg knows no RTSP://
    if "!" in text and not is_there(Path(text)):
        return GStreamerPipeline(text)
    kind, colon, rest = text.partition(":")
    if colon and kind == "watch":
        return WatchedFolder(Path(rest))
    if colon and kind == "play":
        if Path(rest).is_dir():
            return PlayedPictures((Path(rest),))
        return VideoFile(Path(rest), as_camera=True, repeat=True)
    path = Path(text)
    if not text or not is_there(path):
        raise SourceError(
            f"there is no source {without_secrets(text) or '(empty)'}",
            "Give a picture, a folder, watch:FOLDER, a video file, a camera's number, rtsp://..., or a "
            "GStreamer pipeline.",
        )
    if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES:
        return Pictures(path)
    return VideoFile(path)


def is_there(path: Path) -> bool:
    """Whether a path exists; a text that can be none (a long pipeline) does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def as_source(given: object) -> Source:
    """A source from whatever ``stream`` was given.

    Args:
        given: A source, text or a path (:func:`source_from_text`), a camera's number, or an iterable of
            frames.

    Raises:
        SourceError: It is none of these.
    """
    if isinstance(given, bool):
        raise SourceError(f"{given} is no source", "Give a path, an address, a number or an iterable.")
    if isinstance(given, int):
        return Webcam(given)
    if isinstance(given, str | os.PathLike):
        return source_from_text(os.fspath(given))
    if hasattr(given, "open") and hasattr(given, "live"):
        return cast("Source", given)
    if isinstance(given, Iterable):
        frames: Iterable[Frame | Picture] = given
        return Frames(frames)
    raise SourceError(
        f"a {type(given).__name__} is no source", "Give a path, an address, a number or an iterable."
    )
