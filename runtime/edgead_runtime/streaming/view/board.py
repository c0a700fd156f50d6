"""What the page shows of one camera, as far as it has come; filled by the loop, read by the server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgead_runtime.result import Result
from edgead_runtime.streaming.events import Evidence
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.view.painting import finite

POINTS = 3600
"""Frames of which score and latency are remembered: two minutes at 30 a second."""
EVENTS = 12
_ALERTS = 20
_EVIDENCE_BYTES = 48_000_000
_MAP_BYTES_A_PIXEL = 4


@dataclass
class ShownEvent:
    """An event as the page lists it."""

    id: str
    state: str
    at: str
    body: Mapping[str, Any]
    evidence: Evidence | None = None
    """Its worst frame; let go of when there are many large ones."""
    thumbnail: tuple[int, bytes] | None = None
    """Of the frame of that number."""

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        told = ("zone", "opened_at", "duration_s", "frames", "hits", "score", "threshold", "reason")
        return {
            "id": self.id,
            "state": self.state,
            "at": self.at,
            **{name: self.body.get(name) for name in told},
            "sequence": None if self.evidence is None else self.evidence.frame.sequence,
            "shown": self.evidence is not None or self.thumbnail is not None,
        }


@dataclass
class Board:
    """One camera's in one run of the loop. Its methods are safe for calls from any thread, and short."""

    run: str = ""
    """Which run: a page that outlives it must not speak of a frame of the next one."""
    points: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=POINTS))
    count: int = 0
    """Points ever made; the last one has this number."""
    events: dict[str, ShownEvent] = field(default_factory=dict)
    event_count: int = 0
    """Events ever; only the last ones are kept."""
    latest: StreamResult | None = None
    alerts: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What else is open, in words, by its key: kind and text. A drift, say."""
    teachings: int = 0
    """Grows with each lesson, so that the list is looked at again."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take_in(self, result: StreamResult, threshold: float | None) -> None:
        """A frame went through.

        Args:
            result: What became of it.
            threshold: Of the full setting now; ``None`` where nobody knows.
        """
        inspected = result.result
        point = [
            round(result.frame.captured_s, 3),
            None if inspected is None else finite(_on_one_scale(inspected, threshold)),
            round(result.latency_ms, 1),
            int(result.is_anomaly) + 2 * int(result.late) + 4 * int(bool(inspected and inspected.degraded)),
        ]
        with self.lock:
            self.points.append(point)
            self.count += 1
            self.latest = result
            for event in result.events:
                if event.id in self.events:
                    self.events[event.id].evidence = event.worst
            if result.events:
                self._bound_evidence()

    def hear(self, message: Message) -> None:
        """An event changed, something was learned, or another alert opened or closed."""
        with self.lock:
            if message.kind == "event":
                self.event_count += message.key not in self.events and message.state == "opened"
                shown = self.events.setdefault(
                    message.key, ShownEvent(message.key, message.state, message.at, message.body)
                )
                shown.state, shown.at, shown.body = message.state, message.at, message.body
                while len(self.events) > EVENTS:
                    del self.events[next(iter(self.events))]
            elif message.kind != "trouble":  # those are asked of the stream
                self.teachings += 1
                self.alerts.pop(message.key, None)
                text = message.body.get("text")
                if message.state != "closed" and isinstance(text, str) and len(self.alerts) < _ALERTS:
                    self.alerts[message.key] = message.kind, text

    def points_after(self, count: int) -> tuple[int, list[list[Any]]]:
        """The number of the newest point, and those that came after the one of that number."""
        with self.lock:
            fresh = min(self.count - count, len(self.points)) if count <= self.count else len(self.points)
            return self.count, list(self.points)[len(self.points) - fresh :]

    def listed_events(self) -> list[dict[str, Any]]:
        """Newest first."""
        with self.lock:
            return [event.as_plain() for event in reversed(self.events.values())]

    def open_alerts(self) -> list[tuple[str, str]]:
        """Kind and text of each."""
        with self.lock:
            return list(self.alerts.values())

    def evidence(self, event_id: str) -> Evidence | None:
        """The worst frame of an event, while it is kept."""
        with self.lock:
            event = self.events.get(event_id)
            return None if event is None else event.evidence

    def evidence_of(self, sequence: int) -> Evidence | None:
        """The same by the frame's number."""
        with self.lock:
            for event in self.events.values():
                if event.evidence is not None and event.evidence.frame.sequence == sequence:
                    return event.evidence
        return None

    def _bound_evidence(self) -> None:
        left = _EVIDENCE_BYTES
        for newest, event in enumerate(reversed(self.events.values())):
            if event.evidence is None:
                continue
            image = event.evidence.frame.image
            # The map is made once somebody asks for it, and is the larger part then.
            pixels = 0 if image is None else int(np.prod(image.shape[:2]))
            left -= pixels * (3 + _MAP_BYTES_A_PIXEL)
            if left < 0 and newest > 0:
                event.evidence = None


def _on_one_scale(result: Result, threshold: float | None) -> float:
    """The score, of a frame that a faster setting looked at in the unit of the full one."""
    return result.times_threshold * threshold if result.degraded and threshold is not None else result.score
