"""``stream``: the loop in one line."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from os import PathLike

from edgead_runtime.images import Frame, Picture
from edgead_runtime.streaming.cameras import Camera
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.engine_thread import Inspects
from edgead_runtime.streaming.loop import Stream
from edgead_runtime.streaming.results import Listener
from edgead_runtime.streaming.sources import Source, as_source
from edgead_runtime.streaming.triggers import Trigger
from edgead_runtime.streaming.zones import Zone


def stream(
    detector: Inspects,
    source: Source | str | PathLike[str] | int | Iterable[Frame | Picture],
    *,
    budget_ms: float | None = None,
    rules: Rules | None = None,
    zones: Sequence[Zone] = (),
    capture: CaptureSettings | None = None,
    trigger: Trigger | None = None,
    skip_unchanged: float | None = None,
    listeners: Sequence[Listener] = (),
    stop: threading.Event | None = None,
    name: str = "camera",
) -> Stream:
    """Inspect a source frame by frame.

    Capture has a thread of its own. From a camera the newest frame wins, and what was dropped is counted;
    from files every frame comes. For several cameras make a :class:`~edgead_runtime.streaming.Stream` of
    :class:`~edgead_runtime.streaming.Camera` objects.

    Args:
        detector: What looks at the frames.
        source: A path, ``rtsp://...``, ``watch:FOLDER``, a camera's number, a GStreamer pipeline, an iterable
            of
            frames ``[H, W, 3]`` uint8 BGR, or a source.
        budget_ms: Milliseconds from capture to verdict; results above are ``late`` and counted. The detector
            that does something about it is ``Detector.load(path, budget_ms=...)``.
        rules: When an event opens and closes; by default with each anomalous frame.
        zones: Areas to judge each by itself.
        capture: Crop, frame rate, watchdog.
        trigger: Take a frame only when it fires.
        skip_unchanged: Answer as before where no spot changed by more than so many grey levels; see
            :class:`~edgead_runtime.unchanged.UnchangedFrames`.
        listeners: Told of results and messages, e.g. a :class:`~edgead_runtime.streaming.Delivery`.
        stop: Set it to end the stream.
        name: The camera's, in events and topics.

    Returns:
        An iterable of :class:`~edgead_runtime.streaming.StreamResult`, one for each frame.

    Raises:
        SourceError: It is no source. While iterating: it failed for good.
        StreamStoppedError: While iterating: the engine hangs, or fails on every frame.
        ConfigError: A setting is out of range.

    Example:
        >>> for result in stream(detector, "rtsp://camera/1", budget_ms=33):      # doctest: +SKIP
        ...     reject(part=not result.is_good)
    """
    camera = Camera(
        name,
        detector,
        as_source(source),
        budget_ms,
        capture or CaptureSettings(),
        rules or Rules(),
        tuple(zones),
        trigger,
        skip_unchanged,
    )
    return Stream([camera], listeners=listeners, stop=stop)
