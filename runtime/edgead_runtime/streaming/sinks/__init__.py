"""Where messages go. A new one is a subclass of :class:`Sink` with ``send``."""

from edgead_runtime.streaming.sinks.base import Sink
from edgead_runtime.streaming.sinks.clips import ClipRecorder
from edgead_runtime.streaming.sinks.metrics import Metrics
from edgead_runtime.streaming.sinks.mqtt import Mqtt
from edgead_runtime.streaming.sinks.pictures import PictureFolder
from edgead_runtime.streaming.sinks.text_files import Csv, JsonLines, Lines
from edgead_runtime.streaming.sinks.webhook import Webhook

__all__ = [
    "ClipRecorder",
    "Csv",
    "JsonLines",
    "Lines",
    "Metrics",
    "Mqtt",
    "PictureFolder",
    "Sink",
    "Webhook",
]
