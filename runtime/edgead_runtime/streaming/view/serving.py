"""The web server of the live view, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgead_runtime.streaming.view.app import ViewApp
from edgead_runtime.streaming.view.guard import Guard
from edgead_runtime.streaming.view.painter import Painter
from edgead_runtime.streaming.view.panel import Panel
from edgead_runtime.streaming.view.requests import MAX_BYTES

_CONNECTIONS = 64
_HEADER_BYTES = 16_384
_GRACE_S = 2
_END_S = 5.0
_ASKS_WITHIN_S = 10.0


class Impatient(H11Protocol):
    """Closes a connection over which no whole request has come.

    uvicorn would wait for ever, for whoever has no token too, and 64 would keep the page from everybody.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there."""
        super().connection_made(transport)
        self.loop.call_later(_ASKS_WITHIN_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        # One that became a WebSocket is no longer among them.
        if self.cycle is None and self in self.connections:
            self.transport.close()


class Serving:
    """Answers browsers from :meth:`start` to :meth:`end`.

    Args:
        panel: What is shown.
        listening: The socket; closed at the end.
        host: Where it listens, as it was given.
        token: What who comes in must know; ``None``: nothing.
        max_fps: See :class:`~edgead_runtime.streaming.view.painter.Painter`.
        max_side_px: See there.
    """

    def __init__(
        self,
        panel: Panel,
        listening: socket.socket,
        *,
        host: str,
        token: str | None,
        max_fps: float,
        max_side_px: int,
    ) -> None:
        self._panel, self._socket = panel, listening
        self._painter = Painter(panel, max_fps, max_side_px)
        self._app = ViewApp(panel, self._painter)
        port = int(listening.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                Guard(self._app.app, host, port, token),
                http=Impatient,
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="critical",  # whoever sends garbage does not write our log
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS,
                h11_max_incomplete_event_size=_HEADER_BYTES,
                ws_max_size=MAX_BYTES,
                ws_max_queue=8,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    @property
    def pictures_made(self) -> int:
        """How many pictures were made for browsers."""
        return self._painter.count

    def start(self) -> None:
        """Begin; the socket listens already, so nobody is turned away meanwhile."""
        self._thread.start()
        self._ready.wait()

    def end(self) -> None:
        """Send every browser away and end the thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send_away)
        self._thread.join(_END_S)
        self._painter.close()
        self._socket.close()

    def _send_away(self) -> None:
        self._app.closing.set()
        self._server.should_exit = True

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._panel.bell.hang_in(self._loop)
        self._ready.set()
        await self._server.serve(sockets=[self._socket])
