"""One browser that looks: pictures as fast as it takes them, and the state a few times a second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from edgead_runtime.streaming.view.kept import FrameKey
from edgead_runtime.streaming.view.painter import Painter
from edgead_runtime.streaming.view.panel import Panel
from edgead_runtime.streaming.view.requests import MAX_BYTES, NotUnderstoodError, Wish, understand

log = logging.getLogger("edgead.view")

_STATE_PERIOD_S = 0.25
_LOOK_AGAIN_S = 1.0
_CLOSED = (RuntimeError, WebSocketDisconnect, OSError)
"""What sending raises where the browser has gone."""
_GOING_AWAY, _NOT_UNDERSTOOD = 1001, 1007


class Watcher:
    """A WebSocket from its opening to its end.

    The page asks for each picture once it has drawn the last one, so a slow one gets fewer, always the
    newest, and nothing piles up. What is told otherwise is the state as it is when there is room for it.

    Args:
        socket: Accepted.
        panel: What is shown.
        painter: Makes the pictures.
    """

    def __init__(self, socket: WebSocket, panel: Panel, painter: Painter) -> None:
        self._socket, self._panel, self._painter = socket, panel, painter
        self._run, self._boards = panel.run, panel.boards
        self._camera = next(iter(self._boards))
        self._wanted = asyncio.Event()
        self._held = False
        self._shown: int | None = None
        self._told_points = 0
        self._told: dict[str, str] = {}
        self._sending, self._telling = asyncio.Lock(), asyncio.Lock()

    async def run(self, closing: asyncio.Event) -> None:
        """Until the browser goes, ``closing`` is set, or another run of the loop begins."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._listen(), self._send_pictures(), self._send_state(), closing.wait())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self._panel.kept.let_go(self)
        with contextlib.suppress(*_CLOSED):
            await self._socket.close(_NOT_UNDERSTOOD if ended[0] is False else _GOING_AWAY)
        for task in done:
            error = task.exception()
            if error is not None and not isinstance(error, _CLOSED):
                log.error("a browser could not be served", exc_info=error)

    # -- what it says ----------------------------------------------------------------------------------

    async def _listen(self) -> bool:
        """False when it said something that is not understood; true when it left."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return True
            said = message.get("text")
            if said is None or len(said) > MAX_BYTES:
                return False
            try:
                await self._do(understand(said, Wish))
            except NotUnderstoodError:
                return False

    async def _do(self, wish: Wish) -> None:
        if wish.do == "ready" and not self._held:
            self._wanted.set()
        elif wish.do == "camera" and wish.camera in self._boards:
            self._camera, self._told_points, self._told = wish.camera, 0, {}
            self._go_on()
            async with self._telling:
                await self._tell_state()
        elif wish.do == "hold" and wish.sequence is not None:
            self._stop()
            kept = self._panel.kept.hold(self, FrameKey(wish.run or "", self._camera, wish.sequence))
            await self._send({"type": "held", "sequence": wish.sequence, "kept": kept})
        elif wish.do == "event" and wish.event is not None:
            await self._show_event(wish.event)
        elif wish.do == "release":
            self._go_on()

    def _stop(self) -> None:
        self._held = True
        self._wanted.clear()

    def _go_on(self) -> None:
        self._panel.kept.let_go(self)
        self._held, self._shown = False, None
        self._wanted.set()

    async def _show_event(self, event_id: str) -> None:
        painted = await self._painter.event(self._camera, event_id)
        if painted is None:
            await self._send({"type": "gone", "event": event_id})
            return
        self._stop()
        self._panel.kept.hold(self, FrameKey(self._run, self._camera, painted[0]))
        await self._send({"type": "event", "event": event_id, "sequence": painted[0]})
        async with self._sending:
            await self._socket.send_bytes(painted[1])

    # -- what it is told -------------------------------------------------------------------------------

    async def _send(self, what: dict[str, Any]) -> None:
        async with self._sending:
            await self._socket.send_text(json.dumps(what))

    async def _send_pictures(self) -> None:
        while True:
            await self._wanted.wait()
            camera, heard = self._camera, self._panel.bell.rung
            painted = await self._painter.newest(camera, self._shown)
            if painted is None:
                await self._panel.bell.wait(heard, _LOOK_AGAIN_S)
            elif not self._held and camera == self._camera:
                self._wanted.clear()
                self._shown = painted[0]
                async with self._sending:
                    await self._socket.send_bytes(painted[1])

    async def _send_state(self) -> None:
        while self._panel.run == self._run:
            heard = self._panel.bell.rung
            async with self._telling:
                await self._tell_state()
            await asyncio.sleep(_STATE_PERIOD_S)
            await self._panel.bell.wait(heard, _LOOK_AGAIN_S)

    async def _tell_state(self) -> None:
        camera = self._camera
        board = self._boards[camera]
        self._told_points, points = board.points_after(before := self._told_points)
        lessons = await asyncio.to_thread(self._panel.lessons, camera)
        if camera != self._camera or self._panel.run != self._run:
            return
        state = {
            "type": "state",
            "cameras": self._panel.overview(),
            **self._panel.state(camera),
            "points": points,
            "afresh": before == 0,
        }
        for name, value in (("events", board.listed_events()), ("lessons", lessons)):
            text = json.dumps(value)
            if self._told.get(name) != text:
                self._told[name] = text
                state[name] = value
        await self._send(state)
