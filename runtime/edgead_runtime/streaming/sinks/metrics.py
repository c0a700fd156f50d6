"""Numbers for Prometheus, and whether the loop is alive, over HTTP."""

from __future__ import annotations

import bisect
import json
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgead_runtime.errors import ConfigError
from edgead_runtime.streaming.sinks.prometheus_text import CONTENT_TYPE, family, sample

if TYPE_CHECKING:
    from edgead_runtime.streaming.delivery import Delivery
    from edgead_runtime.streaming.loop import Stream
    from edgead_runtime.streaming.messages import Message
    from edgead_runtime.streaming.results import StreamResult

LATENCY_BOUNDS_MS = (5, 10, 16, 25, 33, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000)
SCORE_QUANTILES = (0.5, 0.9, 0.99)
_SCORES_KEPT = 1024
LOOP_STANDS_S = 30.0
"""A loop whose thread has not turned for so long is not alive."""
_LONGEST_GAP_S = 5.0

log = logging.getLogger("edgead.metrics")


@dataclass
class _CameraNumbers:
    latency_counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_MS) + 1))
    latency_sum_ms: float = 0.0
    scores: deque[float] = field(default_factory=lambda: deque(maxlen=_SCORES_KEPT))
    score_count: int = 0
    score_sum: float = 0.0
    degraded_s: float = 0.0
    last_s: float | None = None
    events: dict[str, int] = field(default_factory=dict)


class Metrics:
    """A listener with a web server.

    ``/metrics``; ``/healthz``, 200 while the loop turns; ``/readyz``, 200 while every camera is inspected.

    Args:
        host: To listen on; anything other than this machine is for a network that you trust.
        port: 0: any that is free; see :attr:`port`.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 9464) -> None:
        self._host, self._port = host, port
        self._cameras: dict[str, _CameraNumbers] = {}
        self._stream: Stream | None = None
        self._delivery: Delivery | None = None
        self._more: list[Callable[[], Iterable[str]]] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def watch(self, stream: Stream, delivery: Delivery | None = None) -> None:
        """Show the counts of this stream, and how its sinks do."""
        self._stream, self._delivery = stream, delivery

    def also(self, lines: Callable[[], Iterable[str]]) -> None:
        """Show more numbers, from any thread: lines in Prometheus' text format."""
        self._more.append(lines)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port if self._server is None else int(self._server.server_address[1])

    def __enter__(self) -> Metrics:
        handler = type("Handler", (_Handler,), {"metrics": self})
        try:
            self._server = _Server((self._host, self._port), handler)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self._host}:{self._port} ({error.strerror})", "Choose another port."
            ) from error
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # -- as a listener ---------------------------------------------------------------------------------

    def on_message(self, message: Message) -> None:
        """Count events."""
        if message.kind == "event":
            with self._lock:
                events = self._cameras.setdefault(message.camera, _CameraNumbers()).events
                events[message.state] = events.get(message.state, 0) + 1

    def on_result(self, result: StreamResult) -> None:
        """Take in a frame."""
        with self._lock:
            numbers = self._cameras.setdefault(result.camera, _CameraNumbers())
            now = result.frame.captured_s
            if numbers.last_s is not None and result.result is not None and result.result.degraded:
                numbers.degraded_s += min(_LONGEST_GAP_S, max(0.0, now - numbers.last_s))
            numbers.last_s = now
            if result.result is None:
                return
            numbers.latency_counts[bisect.bisect_left(LATENCY_BOUNDS_MS, result.latency_ms)] += 1
            numbers.latency_sum_ms += result.latency_ms
            numbers.scores.append(result.score)
            numbers.score_count += 1
            numbers.score_sum += result.score

    # -- as text ---------------------------------------------------------------------------------------

    def text(self) -> str:
        """All numbers in Prometheus' text format."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from self._stream_lines()
        with self._lock:
            yield from _histogram(self._cameras)
            yield from _summary(self._cameras)
            yield from family("edgead_degraded_seconds_total", "counter", "Time at reduced quality.")
            for name, numbers in self._cameras.items():
                yield sample("edgead_degraded_seconds_total", {"camera": name}, numbers.degraded_s)
            yield from family("edgead_events_total", "counter", "Events by what became of them.")
            for name, numbers in self._cameras.items():
                for state, count in numbers.events.items():
                    yield sample("edgead_events_total", {"camera": name, "state": state}, count)
        yield from self._delivery_lines()
        for lines in self._more:
            yield from lines()

    def _stream_lines(self) -> Iterator[str]:
        stats = {} if self._stream is None else self._stream.stats()
        counters = {
            "captured": "Frames that the source gave.",
            "inspected": "Frames inspected.",
            "dropped": "Frames replaced by a newer one before they could be inspected.",
            "skipped": "Frames not wanted: above the rate, or no trigger.",
            "not_inspected": "Frames that were unusable or refused.",
            "anomalies": "Frames above the threshold.",
            "late": "Frames beyond the budget.",
            "degraded": "Frames inspected at reduced quality.",
            "repeated": "Frames answered as the one before, since nothing had changed.",
        }
        for name, what in counters.items():
            yield from family(f"edgead_frames_{name}_total", "counter", what)
            for camera, each in stats.items():
                yield sample(f"edgead_frames_{name}_total", {"camera": camera}, getattr(each, name))
        yield from family("edgead_reconnects_total", "counter", "Attempts to open a source again.")
        for camera, each in stats.items():
            yield sample("edgead_reconnects_total", {"camera": camera}, each.reconnects)
        yield from family("edgead_open_events", "gauge", "Events open now.")
        for camera, each in stats.items():
            yield sample("edgead_open_events", {"camera": camera}, each.open_events)
        yield from family("edgead_trouble", "gauge", "1 while something is wrong.")
        for camera, each in stats.items():
            for kind in each.troubles:
                yield sample("edgead_trouble", {"camera": camera, "trouble": kind}, 1)

    def _delivery_lines(self) -> Iterator[str]:
        if self._delivery is None:
            return
        yield from family("edgead_outbox_waiting", "gauge", "Messages that a sink has still to get.")
        for sink, count in self._delivery.waiting().items():
            yield sample("edgead_outbox_waiting", {"sink": sink}, count)
        yield from family("edgead_sink_up", "gauge", "1 while a sink takes messages.")
        for sink, state in self._delivery.states.items():
            yield sample("edgead_sink_up", {"sink": sink}, int(not state.down))
        yield from family("edgead_sink_delivered_total", "counter", "Messages that a sink took.")
        for sink, state in self._delivery.states.items():
            yield sample("edgead_sink_delivered_total", {"sink": sink}, state.delivered)
        yield from family("edgead_outbox_disk_ok", "gauge", "0 while messages wait in memory only.")
        yield sample("edgead_outbox_disk_ok", {}, int(not self._delivery.disk_problem))

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the loop turns."""
        if self._stream is None:
            return False, {"loop": "not started"}
        standing_s = self._stream.standing_s
        return standing_s < LOOP_STANDS_S, {"loop_standing_s": round(standing_s, 1)}

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether every camera is inspected, and if not, why."""
        alive, facts = self.health()
        stats = {} if self._stream is None else self._stream.stats()
        cameras = {
            name: each.troubles or ({} if each.inspected else {"waiting": "no frame was inspected yet"})
            for name, each in stats.items()
        }
        return alive and not any(cameras.values()), {**facts, "cameras": cameras}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asks and hangs up is nobody's fault; the base class would print a traceback for each."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("a request for metrics could not be answered")


class _Handler(BaseHTTPRequestHandler):
    metrics: Metrics
    timeout = 10  # one who connects and says nothing does not keep a thread

    def do_GET(self) -> None:
        path = self.path.split("?", 1)[0]
        if path == "/metrics":
            self._answer(200, self.metrics.text().encode(), CONTENT_TYPE)
        elif path in ("/healthz", "/readyz"):
            fine, facts = self.metrics.health() if path == "/healthz" else self.metrics.readiness()
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


def _histogram(cameras: Mapping[str, _CameraNumbers]) -> Iterator[str]:
    name = "edgead_latency_seconds"
    yield from family(name, "histogram", "From capture to verdict.")
    for camera, numbers in cameras.items():
        total = 0
        for bound, count in zip((*LATENCY_BOUNDS_MS, None), numbers.latency_counts, strict=True):
            total += count
            le = "+Inf" if bound is None else f"{bound / 1000:g}"
            yield sample(f"{name}_bucket", {"camera": camera, "le": le}, total)
        yield sample(f"{name}_sum", {"camera": camera}, numbers.latency_sum_ms / 1000)
        yield sample(f"{name}_count", {"camera": camera}, total)


def _summary(cameras: Mapping[str, _CameraNumbers]) -> Iterator[str]:
    name = "edgead_score"
    yield from family(name, "summary", f"Scores; quantiles of the last {_SCORES_KEPT} frames.")
    for camera, numbers in cameras.items():
        if numbers.scores:
            values = np.quantile(np.array(numbers.scores), SCORE_QUANTILES)
            for quantile, value in zip(SCORE_QUANTILES, values, strict=True):
                yield sample(name, {"camera": camera, "quantile": f"{quantile:g}"}, float(value))
        yield sample(f"{name}_sum", {"camera": camera}, numbers.score_sum)
        yield sample(f"{name}_count", {"camera": camera}, numbers.score_count)
