"""The web server behind ``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from edgead_runtime.streaming.sinks.prometheus_text import CONTENT_TYPE

log = logging.getLogger("edgead.metrics")

_CONNECTIONS = 32


class Pages(Protocol):
    """What is served; asked in other threads than the loop's."""

    def text(self) -> str:
        """Numbers in Prometheus' text format."""
        ...

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether it is to be let run."""
        ...

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether it does what it is there for."""
        ...


class MetricsServer(ThreadingHTTPServer):
    """Serves pages from its making to :meth:`end`, in threads of its own, to at most 32 at a time.

    Args:
        listening: A socket that listens; closed at the end.
        pages: What is served.
    """

    daemon_threads = True

    def __init__(self, listening: socket.socket, pages: Pages) -> None:
        handler = type("Handler", (_Handler,), {"pages": pages})
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()  # made by the base class, for IPv4 alone
        self.socket, self.server_address = listening, listening.getsockname()
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self._thread = threading.Thread(target=self.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or turn away where there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # the system has no thread for it
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever goes away in the middle does not write our log; a mistake of ours does."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("a request could not be answered")

    def end(self) -> None:
        """Stop."""
        self.shutdown()
        self.server_close()
        self._thread.join(1.0)


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    timeout = 10  # one who connects and says nothing does not keep a thread

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            self._answer(200, self.pages.text().encode(), CONTENT_TYPE)
        elif path in ("/healthz", "/readyz"):
            fine, facts = self.pages.health() if path == "/healthz" else self.pages.readiness()
            self._answer(200 if fine else 503, json.dumps(facts).encode(), "application/json")
        else:
            self._answer(404, b"/metrics, /healthz, /readyz\n", "text/plain")

    def _answer(self, code: int, body: bytes, content_type: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Requests are not logged: one every 15 seconds for weeks."""
