"""In the camera loop: sources, the loop, decisions, and sinks that lose nothing.

The function :func:`edgead_runtime.stream` is the loop in one line; docs/loop.md has it all.
"""

from edgead_runtime.streaming.api import stream
from edgead_runtime.streaming.cameras import Camera, CameraStats
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.decisions import Change, Rules
from edgead_runtime.streaming.delivery import Delivery
from edgead_runtime.streaming.drift import Drift, DriftSettings
from edgead_runtime.streaming.events import Event
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.learning import LineLearning
from edgead_runtime.streaming.loop import Stream
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.results import Listener, StreamResult
from edgead_runtime.streaming.signals import stop_on_signals
from edgead_runtime.streaming.teaching import Lesson, Teacher
from edgead_runtime.streaming.triggers import Trigger
from edgead_runtime.streaming.zones import Zone

__all__ = [
    "Camera",
    "CameraFrame",
    "CameraStats",
    "CaptureSettings",
    "Change",
    "Delivery",
    "Drift",
    "DriftSettings",
    "Event",
    "Lesson",
    "LineLearning",
    "Listener",
    "Message",
    "Rules",
    "Stream",
    "StreamResult",
    "Teacher",
    "Trigger",
    "Zone",
    "stop_on_signals",
    "stream",
]
