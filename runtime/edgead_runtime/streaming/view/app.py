"""The pages and requests of the live view, as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from edgead_runtime.errors import EdgeadError
from edgead_runtime.streaming.view.kept import FrameKey
from edgead_runtime.streaming.view.painter import Painter
from edgead_runtime.streaming.view.panel import GoneError, OtherRunError, Panel
from edgead_runtime.streaming.view.requests import (
    MAX_BYTES,
    Command,
    MoveThreshold,
    NotUnderstoodError,
    OfFrame,
    Undo,
    person,
    understand,
)
from edgead_runtime.streaming.view.watching import Watcher

log = logging.getLogger("edgead.view")

MAX_WATCHERS = 8
_TRY_AGAIN_LATER = 1013
_STATIC = {
    "/": ("view.html", "text/html; charset=utf-8"),
    "/view.css": ("view.css", "text/css; charset=utf-8"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("view", "verdict", "picture", "chart", "lists", "link")
    },
}


class ViewApp:
    """What answers, behind the guard.

    Args:
        panel: What is shown and done.
        painter: Makes the pictures.
    """

    def __init__(self, panel: Panel, painter: Painter) -> None:
        self._panel, self._painter = panel, painter
        self.closing = asyncio.Event()
        """Set it to send every browser away."""
        folder = files("edgead_runtime.streaming.view") / "static"
        routes: list[BaseRoute] = [
            Route(path, _static((folder / name).read_bytes(), kind)) for path, (name, kind) in _STATIC.items()
        ]
        routes += [
            Route("/thumbnail", self._thumbnail),
            Route("/api/good", self._answering(self._good), methods=["POST"]),
            Route("/api/defect", self._answering(self._defect), methods=["POST"]),
            Route("/api/undo", self._answering(self._undo), methods=["POST"]),
            Route("/api/threshold", self._answering(self._threshold), methods=["POST"]),
            WebSocketRoute("/live", self._live),
        ]
        self.app = Starlette(routes=routes, exception_handlers={Exception: _failed})

    # -- looking ---------------------------------------------------------------------------------------

    async def _live(self, socket: WebSocket) -> None:
        await socket.accept()
        bell = self._panel.bell
        if bell.waited_for >= MAX_WATCHERS or not self._panel.boards:
            reason = f"{MAX_WATCHERS} browsers are looking already" if bell.waited_for else "no camera yet"
            await socket.close(_TRY_AGAIN_LATER, reason)
            return
        bell.waited_for += 1
        try:
            await Watcher(socket, self._panel, self._painter).run(self.closing)
        finally:
            bell.waited_for -= 1

    async def _thumbnail(self, request: Request) -> Response:
        asked = request.query_params
        board = self._panel.boards.get(asked.get("camera", ""))
        event = None if board is None else board.events.get(asked.get("event", ""))
        made = None if event is None else await self._painter.thumbnail(event)
        if made is None:
            return _problem(404, "there is no such event any more", "Choose another.")
        return Response(made, media_type="image/jpeg")

    # -- doing -----------------------------------------------------------------------------------------

    def _answering(
        self, do: Callable[[bytes, str], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            # A form of another site's page cannot be of this type; see the guard for the rest.
            kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
            if kind != "application/json":
                return _problem(415, "the request is no JSON", "Send application/json.")
            try:
                body = await _body(request)
            except ClientDisconnect:
                return _problem(400, "the request ended early", "Send all of it.")
            if body is None:
                return _problem(413, f"the request is longer than {MAX_BYTES} bytes", "Send less.")
            address = request.client.host if request.client is not None else "unknown"
            try:
                return _json(200, await do(body, address))
            except NotUnderstoodError as error:
                return _problem(400, error.problem, error.remedy)
            except OtherRunError as error:
                return _problem(409, error.problem, error.remedy)
            except GoneError as error:
                return _problem(410, error.problem, error.remedy)
            except EdgeadError as error:
                return _problem(422, error.problem, error.remedy)

        return answer

    async def _good(self, body: bytes, address: str) -> Any:
        return await self._teach(understand(body, OfFrame), address, good=True)

    async def _defect(self, body: bytes, address: str) -> Any:
        return await self._teach(understand(body, OfFrame), address, good=False)

    async def _teach(self, said: OfFrame, address: str, *, good: bool) -> Any:
        self._known(said)
        frame, who = FrameKey(said.run, said.camera, said.sequence), person(said.who, address)
        return asdict(await asyncio.to_thread(self._panel.teach, frame, who, good=good))

    async def _undo(self, body: bytes, address: str) -> Any:
        said = understand(body, Undo)
        self._known(said)
        who = person(said.who, address)
        return asdict(await asyncio.to_thread(self._panel.undo, said.camera, said.lesson, who))

    async def _threshold(self, body: bytes, address: str) -> Any:
        said = understand(body, MoveThreshold)
        self._known(said)
        who = person(said.who, address)
        return await asyncio.to_thread(self._panel.set_threshold, said.camera, said.threshold, who)

    def _known(self, said: Command) -> None:
        self._panel.check_run(said.run)
        if said.camera not in self._panel.boards:
            raise EdgeadError(f"there is no camera {said.camera[:40]!r}", "Load the page again.")


async def _body(request: Request) -> bytes | None:
    """The body, or ``None`` where it is too long; what is too long is not read to its end."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            return None
    return body


def _static(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _json(code: int, what: Any) -> Response:
    return Response(json.dumps(what), code, media_type="application/json")


def _problem(code: int, problem: str, remedy: str) -> Response:
    return _json(code, {"problem": problem, "remedy": remedy})


async def _failed(request: Request, error: Exception) -> Response:
    log.error("%s failed", request.url.path, exc_info=error)
    return _problem(500, "that failed; the loop goes on", "See the log.")
