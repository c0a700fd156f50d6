"""Video clips of events: some seconds before, the event, some seconds after."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from edgead_runtime.images import Frame, encode_jpeg
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.sinks.quota import FolderQuota

log = logging.getLogger("edgead.clips")

_WAITING_FRAMES = 8
_JPEG_QUALITY = 80
_END_S = 5.0


@dataclass
class _CameraClips:
    """What is remembered of one camera."""

    before: deque[tuple[float, bytes]] = field(default_factory=deque)
    """Time (monotonic) and JPEG of the last seconds."""
    open_events: set[str] = field(default_factory=set)
    key: str = ""
    """The event that the clip being made is named after."""
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    ends_s: float = float("inf")


class ClipRecorder:
    """A listener that writes ``FOLDER/CAMERA/ID.avi`` (Motion JPEG, which every OpenCV writes).

    Best effort, unlike the picture of an event, which goes by the outbox: frames are kept in memory as JPEG,
    in a thread of its own; where that does not keep up, frames are left out and counted. Events that overlap
    share a clip. Use as a context manager.

    Args:
        folder: Where to.
        before_s: Seconds before the event.
        after_s: Seconds after it closed.
        max_clip_s: A clip ends after so long, even if the event does not.
        max_mb: Quota of the folder; the oldest clips go first.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        before_s: float = 3.0,
        after_s: float = 2.0,
        max_clip_s: float = 30.0,
        max_mb: float = 2000.0,
    ) -> None:
        self._folder = Path(folder)
        self._before_s, self._after_s, self._max_clip_s = before_s, after_s, max_clip_s
        self.quota = FolderQuota(self._folder, ("*.avi",), int(max_mb * 1e6))
        self.left_out = 0
        """Frames that were not taken because the thread was busy."""
        self.written = 0
        self._cameras: dict[str, _CameraClips] = {}
        self._queue: queue.Queue[tuple[str, float, Frame] | None] = queue.Queue(_WAITING_FRAMES)
        self._messages: deque[Message] = deque(maxlen=256)
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)

    def __enter__(self) -> ClipRecorder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(queue.Full):  # a disk that hangs: nobody waits for a clip
            self._queue.put(None, timeout=_END_S)
        self._thread.join(_END_S)

    def on_message(self, message: Message) -> None:
        """An event began or ended."""
        if message.kind == "event" and message.state != "updated":
            self._messages.append(message)

    def on_result(self, result: StreamResult) -> None:
        """A frame to remember."""
        if result.frame.image is None:
            return
        try:
            self._queue.put_nowait((result.camera, result.frame.captured_s, result.frame.image))
        except queue.Full:
            self.left_out += 1

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            try:
                if item is None:
                    for name, clips in self._cameras.items():
                        self._write(name, clips)
                    return
                self._take(*item)
            except Exception:
                log.exception("a clip could not be written")
            del item

    def _take(self, camera: str, now: float, image: Frame) -> None:
        clips = self._cameras.setdefault(camera, _CameraClips())
        encoded = (now, encode_jpeg(image, _JPEG_QUALITY))
        clips.before.append(encoded)
        while clips.before[0][0] < now - self._before_s:
            clips.before.popleft()
        if clips.key:
            clips.frames.append(encoded)
        while self._messages:
            self._note(self._messages.popleft(), now)
        for name, each in self._cameras.items():
            if (
                each.key
                and each.frames
                and (now >= each.ends_s or now - each.frames[0][0] > self._max_clip_s)
            ):
                self._write(name, each)

    def _note(self, message: Message, now: float) -> None:
        clips = self._cameras.setdefault(message.camera, _CameraClips())
        if message.state == "opened":
            clips.open_events.add(message.key)
            clips.ends_s = float("inf")
            if not clips.key:
                clips.key, clips.frames = message.key, list(clips.before)
        else:
            clips.open_events.discard(message.key)
            if not clips.open_events:
                clips.ends_s = now + self._after_s

    def _write(self, camera: str, clips: _CameraClips) -> None:
        key, frames = clips.key, clips.frames
        clips.key, clips.frames, clips.ends_s = "", [], float("inf")
        if not key or not frames:
            return
        estimate = sum(len(data) for _, data in frames)
        self.quota.make_room(estimate)
        folder = self._folder / camera
        folder.mkdir(parents=True, exist_ok=True)
        seconds = frames[-1][0] - frames[0][0]
        rate = min(60.0, max(1.0, (len(frames) - 1) / seconds)) if seconds > 0 else 1.0
        temporary, path = folder / f".{key}.avi", folder / f"{key}.avi"
        first = _decoded(frames[0][1])
        height, width = first.shape[:2]
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"MJPG"), rate, (width, height))
        try:
            if not writer.isOpened():
                raise OSError(f"cannot write {temporary}")
            for _, data in frames:
                image = _decoded(data)
                if image.shape != first.shape:  # the camera changed its size meanwhile
                    image = np.asarray(cv2.resize(image, (width, height)), dtype=np.uint8)
                writer.write(image)
        finally:
            writer.release()
        temporary.replace(path)
        self.quota.correct(path.stat().st_size - estimate)
        self.written += 1


def _decoded(data: bytes) -> Frame:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
