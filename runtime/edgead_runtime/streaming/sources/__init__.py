"""Where frames come from. A source is a description; opening it gives a session that one thread reads."""

from edgead_runtime.streaming.sources.base import EndOfSourceError, Grab, Session, Source
from edgead_runtime.streaming.sources.files import Pictures, WatchedFolder
from edgead_runtime.streaming.sources.iterables import Frames
from edgead_runtime.streaming.sources.opencv import GStreamerPipeline, VideoFile, Webcam
from edgead_runtime.streaming.sources.played import PlayedPictures
from edgead_runtime.streaming.sources.rtsp import NetworkCamera
from edgead_runtime.streaming.sources.spec import as_source, source_from_text

__all__ = [
    "EndOfSourceError",
    "Frames",
    "GStreamerPipeline",
    "Grab",
    "NetworkCamera",
    "Pictures",
    "PlayedPictures",
    "Session",
    "Source",
    "VideoFile",
    "WatchedFolder",
    "Webcam",
    "as_source",
    "source_from_text",
]
