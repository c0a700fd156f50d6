"""The frames that a person may still speak of: those that were shown, and those of the last events."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from edgead_runtime.images import Frame, Picture


class FrameKey(NamedTuple):
    """Which frame: a sequence number alone comes again when the loop is started again."""

    run: str
    """Of the loop, see :attr:`~edgead_runtime.streaming.view.board.Board.run`."""
    camera: str
    sequence: int


class KeptFrames:
    """Frames in bounded memory; the oldest go first.

    Args:
        max_bytes: For all that are not held.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._frames: OrderedDict[FrameKey, tuple[Frame, str]] = OrderedDict()
        self._held: dict[object, FrameKey] = {}
        self._lock = threading.Lock()

    def keep(self, key: FrameKey, image: Frame, name: str) -> None:
        """Keep a frame ``[H, W, 3]`` that is shown now."""
        with self._lock:
            self._frames[key] = image, name
            self._frames.move_to_end(key)
            self._make_room()

    def hold(self, holder: object, key: FrameKey) -> bool:
        """Keep this one until the holder lets go of it; false where it is gone already.

        A holder holds one frame at most.
        """
        with self._lock:
            there = key in self._frames
            self._held.pop(holder, None)
            if there:
                self._held[holder] = key
            self._make_room()
            return there

    def let_go(self, holder: object) -> None:
        """Hold nothing any more."""
        with self._lock:
            self._held.pop(holder, None)
            self._make_room()

    def picture(self, key: FrameKey) -> Picture | None:
        """The very frame, or ``None`` where it is gone."""
        with self._lock:
            kept = self._frames.get(key)
        return None if kept is None else Picture(kept[1], kept[0])

    def __len__(self) -> int:
        return len(self._frames)

    def _make_room(self) -> None:
        held = set(self._held.values())
        free = [key for key in self._frames if key not in held]
        used = sum(self._frames[key][0].nbytes for key in free)
        # The newest stays whatever its size: it is what somebody looks at.
        while used > self._max_bytes and len(free) > 1:
            used -= self._frames.pop(free.pop(0))[0].nbytes
