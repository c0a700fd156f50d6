"""What stands behind the page: the cameras' boards, the frames kept, and what the buttons do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgead_runtime.errors import EdgeadError
from edgead_runtime.images import Picture
from edgead_runtime.streaming.clock import stamp
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.teaching import Lesson, Teacher
from edgead_runtime.streaming.thresholds import Thresholds
from edgead_runtime.streaming.view.board import Board
from edgead_runtime.streaming.view.kept import FrameKey, KeptFrames

if TYPE_CHECKING:
    from edgead_runtime.streaming.cameras import Camera, CameraStats
    from edgead_runtime.streaming.loop import Stream

log = logging.getLogger("edgead.view")

_SHOWN_FRAMES_BYTES = 96_000_000
_LESSONS = 8
_LESSONS_ANEW_S = 2.0


class GoneError(EdgeadError):
    """The frame is no longer kept."""


class OtherRunError(EdgeadError):
    """Who speaks saw an earlier run of the loop."""


class Bell:
    """Wakes coroutines from any thread. Who waits says what it has heard, so that no ring is missed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self.rung = 0
        """How often it has rung."""
        self.waited_for = 0
        """How many browsers look; with none, ringing costs nothing."""

    def hang_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say where the coroutines are."""
        self._loop = loop

    def ring(self) -> None:
        """Wake them."""
        self.rung += 1
        if self._loop is not None and self.waited_for:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, heard: int, timeout_s: float) -> None:
        """Until it has rung more often than ``heard``, or this time is over."""
        if self.rung == heard:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._event.wait(), timeout_s)


class Panel:
    """Everything that the page shows and does, without the web.

    Args:
        teacher: Takes what the buttons say; ``None``: there are no buttons.
        thresholds: Moves thresholds; ``None``: they are shown and cannot be moved.
    """

    def __init__(self, teacher: Teacher | None, thresholds: Thresholds | None) -> None:
        self.teacher, self.thresholds = teacher, thresholds
        self.run = secrets.token_hex(8)
        """Of the stream that is shown. The numbers of frames begin anew with each."""
        self.boards: dict[str, Board] = {}
        self.kept = KeptFrames(_SHOWN_FRAMES_BYTES)
        self.bell = Bell()
        self._stream: Stream | None = None
        self._cameras: Mapping[str, Camera] = {}
        self._lessons: dict[str, tuple[int, float, list[dict[str, Any]]]] = {}

    def watch(self, stream: Stream) -> None:
        """Show the counts of this stream too. Another one than before is another run: all begins anew."""
        if self._stream is not None and stream is not self._stream:
            self.run, self.boards, self._lessons = secrets.token_hex(8), {}, {}
        self._cameras = {camera.name: camera for camera in stream.cameras}
        for name in self._cameras:
            self._board(name)
        self._stream = stream
        self.bell.ring()

    # -- from the loop ---------------------------------------------------------------------------------

    def on_result(self, result: StreamResult) -> None:
        """A frame went through."""
        self._board(result.camera).take_in(result, self._threshold(result.camera))
        self.bell.ring()

    def on_message(self, message: Message) -> None:
        """An event or a trouble changed."""
        self._board(message.camera).hear(message)
        self.bell.ring()

    def _board(self, camera: str) -> Board:
        return self.boards.setdefault(camera, Board(self.run))

    def _threshold(self, camera: str) -> float | None:
        state = None if self.thresholds is None else self.thresholds.state(camera)
        return None if state is None else state.current

    # -- for the page ----------------------------------------------------------------------------------

    def overview(self) -> list[dict[str, Any]]:
        """One line for each camera."""
        stats = self._stats()
        return [
            {
                "name": name,
                "troubles": {} if name not in stats else stats[name].troubles,
                "open_events": 0 if name not in stats else stats[name].open_events,
            }
            for name in list(self.boards)
        ]

    def state(self, name: str) -> dict[str, Any]:
        """What is known of one camera, except for what has its own way: points, events and lessons."""
        stats = self._stats().get(name)
        camera = self._cameras.get(name)
        board = self._board(name)
        latest = board.latest
        threshold = None if self.thresholds is None else self.thresholds.state(name)
        return {
            "camera": name,
            "run": board.run,
            "source": "" if camera is None else camera.source.label,
            "live": camera is None or camera.source.live,
            "budget_ms": None if camera is None else camera.budget_ms,
            "zones": [] if camera is None else [zone.name for zone in camera.zones],
            "age_s": None if latest is None else _age_s(latest),
            "standing_s": None if self._stream is None else round(self._stream.standing_s, 1),
            "stats": None if stats is None else _plain(stats),
            "degraded": list(latest.result.degraded) if latest and latest.result else [],
            "notes": list(latest.result.notes) if latest and latest.result else [],
            "alerts": board.open_alerts(),
            "event_count": board.event_count,
            "threshold": None if threshold is None else asdict(threshold),
            "teaches": self.teacher is not None,
        }

    def _stats(self) -> Mapping[str, CameraStats]:
        return {} if self._stream is None else self._stream.stats()

    def lessons(self, camera: str) -> list[dict[str, Any]]:
        """The last lessons, newest first. May read a disk."""
        if self.teacher is None:
            return []
        teachings, now = self._board(camera).teachings, time.monotonic()
        known = self._lessons.get(camera)
        # Others teach as well, by MQTT say, and need not tell us.
        if known is None or known[0] != teachings or now - known[1] > _LESSONS_ANEW_S:
            listed = [asdict(lesson) for lesson in self.teacher.lessons(camera, limit=_LESSONS)]
            known = self._lessons[camera] = teachings, now, listed
        return known[2]

    # -- what buttons do -------------------------------------------------------------------------------

    def check_run(self, run: str) -> None:
        """Whether who speaks saw this run of the loop: what they mean may be something else by now.

        Raises:
            OtherRunError: It was another.
        """
        if run != self.run:
            raise OtherRunError(
                "the loop was started again since this page was loaded, and nothing was done",
                "Look at the new picture, then press again.",
            )

    def keep(self, camera: str, run: str, frame: CameraFrame) -> None:
        """Keep an inspected frame that is shown now."""
        if frame.image is not None:
            self.kept.keep(FrameKey(run, camera, frame.sequence), frame.image, _name(camera, frame))

    def picture(self, key: FrameKey) -> Picture:
        """The very frame that was shown under this key.

        Raises:
            OtherRunError: It is of an earlier run.
            GoneError: It is no longer kept.
        """
        self.check_run(key.run)
        picture = self.kept.picture(key)
        if picture is None:
            board = self.boards.get(key.camera)
            evidence = None if board is None else board.evidence_of(key.sequence)
            if evidence is not None and evidence.frame.image is not None:
                return Picture(_name(key.camera, evidence.frame), evidence.frame.image)
            raise GoneError(
                "that picture is no longer kept",
                "Hold the picture first (or open the event), then say what it is.",
            )
        return picture

    def teach(self, key: FrameKey, who: str, *, good: bool) -> Lesson:
        """This frame is good, or a defect.

        Raises:
            OtherRunError: It is of an earlier run.
            GoneError: It is no longer kept.
            EdgeadError: There is no teacher, or it does not take it.
        """
        teacher, picture = self._teacher(), self.picture(key)
        lesson = (teacher.add_good if good else teacher.keep_defect)(key.camera, picture, who)
        return self._taught(key.camera, lesson)

    def undo(self, camera: str, lesson_id: str, who: str) -> Lesson:
        """Take a lesson back.

        Raises:
            EdgeadError: There is no teacher, or it cannot.
        """
        return self._taught(camera, self._teacher().undo(camera, lesson_id, who))

    def _teacher(self) -> Teacher:
        if self.teacher is None:
            raise EdgeadError("nothing is learned here", "Start the loop with learning.")
        return self.teacher

    def _taught(self, camera: str, lesson: Lesson) -> Lesson:
        board = self._board(camera)
        with board.lock:
            board.teachings += 1
        log.info("%s: %s: %s, by %s", camera, lesson.kind, lesson.picture, lesson.who)
        self.bell.ring()
        return lesson

    def set_threshold(self, camera: str, threshold: float | None, who: str) -> dict[str, Any]:
        """Move a threshold, or put it back.

        Raises:
            EdgeadError: It cannot be moved, or not there.
        """
        if self.thresholds is None:
            raise EdgeadError("thresholds cannot be moved here", "Set them in the configuration.")
        state = self.thresholds.set(camera, threshold, who)
        self.bell.ring()
        return asdict(state)


def _name(camera: str, frame: CameraFrame) -> str:
    return frame.name or f"{camera}-{stamp(frame.captured_at)}-{frame.sequence}"


def _age_s(latest: StreamResult) -> float:
    """How long ago it was captured; a page that is opened now may be shown an old picture."""
    return round(max(0.0, time.monotonic() - latest.frame.captured_s), 1)


def _plain(stats: CameraStats) -> dict[str, Any]:
    plain = asdict(stats)
    plain["latency_ms"] = {name: round(ms, 1) for name, ms in stats.latency_ms.items()}
    return plain
