"""Makes what browsers are sent: only while somebody looks, at most so often, and once for all who look."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.view.board import ShownEvent
from edgead_runtime.streaming.view.painting import encode_small, paint
from edgead_runtime.streaming.view.panel import Panel

THUMBNAIL_PX = 200


class Painter:
    """Lives in the server's event loop; paints in one thread, so that it never takes more than one core.

    Args:
        panel: Where the frames are.
        max_fps: Pictures a second at most, of each camera.
        max_side_px: Longest side of a picture.
    """

    def __init__(self, panel: Panel, max_fps: float, max_side_px: int) -> None:
        self._panel, self._max_side_px, self._period_s = panel, max_side_px, 1 / max_fps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="view paint")
        self._painted: dict[str, tuple[StreamResult, bytes]] = {}
        self._painted_s: dict[str, float] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self.count = 0
        """Pictures made so far."""

    async def newest(self, camera: str, after: int | None) -> tuple[int, bytes] | None:
        """The number of the camera's newest frame and its message, or ``None`` where it is ``after``."""
        async with self._turns.setdefault(camera, asyncio.Lock()):
            board = self._panel.boards.get(camera)
            latest = None if board is None else board.latest
            if board is None or latest is None or latest.frame.sequence == after:
                return None
            known = self._painted.get(camera)
            if known is not None and known[0] is latest:
                return latest.frame.sequence, known[1]
            rest_s = self._painted_s.get(camera, 0.0) + self._period_s - time.monotonic()
            if rest_s > 0:
                await asyncio.sleep(rest_s)
                latest = board.latest or latest
            self._painted_s[camera] = time.monotonic()
            if latest.result is not None:
                self._panel.keep(camera, board.run, latest.frame)
            message = await self._in_thread(latest, board.run)
            self._painted[camera] = latest, message
            return latest.frame.sequence, message

    async def event(self, camera: str, event_id: str) -> tuple[int, bytes] | None:
        """The same of an event's worst frame, or ``None`` where that is gone."""
        board = self._panel.boards.get(camera)
        evidence = None if board is None else board.evidence(event_id)
        if board is None or evidence is None:
            return None
        self._panel.keep(camera, board.run, evidence.frame)
        loop = asyncio.get_running_loop()
        message = await loop.run_in_executor(
            self._thread,
            lambda: paint(
                camera, evidence.frame, evidence.result, run=board.run, max_side_px=self._max_side_px
            ),
        )
        return evidence.frame.sequence, message

    async def thumbnail(self, event: ShownEvent) -> bytes | None:
        """A small JPEG of an event's worst frame; the last one that was made where the frame is gone."""
        evidence = event.evidence
        image = None if evidence is None else evidence.frame.image
        if evidence is None or image is None:
            return None if event.thumbnail is None else event.thumbnail[1]
        if event.thumbnail is None or event.thumbnail[0] != evidence.frame.sequence:
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(self._thread, encode_small, image, THUMBNAIL_PX)
            event.thumbnail = evidence.frame.sequence, made
        return event.thumbnail[1]

    async def _in_thread(self, latest: StreamResult, run: str) -> bytes:
        self.count += 1
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread,
            lambda: paint(
                latest.camera,
                latest.frame,
                latest.result,
                latest.failure,
                run=run,
                max_side_px=self._max_side_px,
            ),
        )

    def close(self) -> None:
        """End the thread after the picture that it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)
