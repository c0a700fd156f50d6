"""Between the capture thread and the loop: a few frames, never more."""

from __future__ import annotations

import threading
from collections import deque

from edgead_runtime.streaming.frames import CameraFrame


class Mailbox:
    """A bounded queue of frames.

    Args:
        capacity: Frames it holds at most.
        waits: When full, ``put`` waits (files: nothing is lost) instead of dropping the oldest (cameras: the
            newest wins).
        arrived: Notified at each change; several cameras of one loop share it.
    """

    def __init__(self, capacity: int, *, waits: bool, arrived: threading.Condition) -> None:
        self._frames: deque[CameraFrame] = deque()
        self._capacity = capacity
        self._waits = waits
        self._arrived = arrived
        self.dropped = 0
        """Frames that were thrown away because a newer one came."""

    def put(self, frame: CameraFrame, given_up: threading.Event) -> None:
        """Add a frame; where it waits for space, ``given_up`` ends the wait and the frame is not added."""
        with self._arrived:
            while self._waits and len(self._frames) >= self._capacity and not given_up.is_set():
                self._arrived.wait(0.2)
            if given_up.is_set():
                return
            if len(self._frames) >= self._capacity:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._arrived.notify_all()

    def take(self) -> CameraFrame | None:
        """The oldest frame, or ``None``."""
        with self._arrived:
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._arrived.notify_all()
            return frame

    def wake(self) -> None:
        """Have whoever waits look again."""
        with self._arrived:
            self._arrived.notify_all()

    def __len__(self) -> int:
        return len(self._frames)
