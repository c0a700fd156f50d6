"""One camera of a loop with its moving parts, and how what becomes of it is told."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgead_runtime.streaming.cameras import Camera, CameraStats, Tally
from edgead_runtime.streaming.capture import Capture
from edgead_runtime.streaming.clock import Clock, stamp
from edgead_runtime.streaming.engine_thread import Inspects
from edgead_runtime.streaming.events import Event, Judge
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.results import Listener, StreamResult

log = logging.getLogger("edgead.stream")


@dataclass
class Lane:
    """A camera with its moving parts."""

    camera: Camera
    capture: Capture
    judge: Judge
    inspects: Inspects
    """The camera's detector, or what skips frames in front of it."""
    tally: Tally = field(default_factory=Tally)
    troubles: dict[str, str] = field(default_factory=dict)
    """Of those told to the listeners: kind -> key."""
    own_troubles: dict[str, str] = field(default_factory=dict)
    """What the loop itself finds wrong: kind -> in words."""
    dropped_told: int = 0
    served: int = 0
    """Turn at which a frame of it was last inspected."""
    over: bool = False

    def stats(self) -> CameraStats:
        """What has happened on it."""
        capture, tally = self.capture, self.tally
        return CameraStats(
            captured=capture.captured,
            inspected=tally.inspected,
            dropped=capture.mailbox.dropped,
            skipped=capture.skipped,
            not_inspected=tally.not_inspected,
            anomalies=tally.anomalies,
            late=tally.late,
            degraded=tally.degraded,
            repeated=tally.repeated,
            reconnects=capture.reconnects,
            triggers_missed=0 if capture.trigger is None else capture.trigger.missed,
            open_events=self.judge.open_events,
            latency_ms=tally.quantiles(),
            troubles={**capture.troubles, **self.own_troubles},
        )


class Teller:
    """Tells the listeners, and logs for a person. What a listener raises is counted and stops nothing."""

    def __init__(self, listeners: Sequence[Listener], clock: Clock) -> None:
        self._listeners, self._clock = tuple(listeners), clock
        self.failures = 0

    def result(self, result: StreamResult) -> None:
        """A frame went through."""
        for listener in self._listeners:
            self._tell(listener.on_result, result)

    def troubles_of(self, lane: Lane) -> None:
        """What began or ended since the last time."""
        now = {**lane.capture.troubles, **lane.own_troubles}
        for kind in [kind for kind in lane.troubles if kind not in now]:
            self._trouble(lane, kind, None)
        for kind, text in now.items():
            if kind not in lane.troubles:
                self._trouble(lane, kind, text)

    def no_more_troubles(self, lane: Lane) -> None:
        """End what is still told as a trouble, since the loop ends."""
        for kind in list(lane.troubles):
            self._trouble(lane, kind, None)

    def _trouble(self, lane: Lane, kind: str, text: str | None) -> None:
        name = lane.camera.name
        if text is not None:
            lane.troubles[kind] = f"{name}-{kind.replace(' ', '-')}-{secrets.token_hex(4)}"
            log.warning("%s: %s: %s", name, kind, text)
        else:
            log.info("%s: no longer %s", name, kind)
        key = lane.troubles[kind] if text is not None else lane.troubles.pop(kind)
        state = "opened" if text is not None else "closed"
        body = {"trouble": kind, "text": text or ""}
        self._message(Message("trouble", name, key, state, stamp(self._clock.now()), body))

    def events(self, events: Sequence[Event]) -> None:
        """What became of events."""
        for event in events:
            if event.change.value != "updated":
                log.info(
                    "%s: event %s %s, score %.3f (threshold %.3f)%s",
                    event.camera,
                    event.id,
                    event.change.value,
                    event.score,
                    event.threshold,
                    f", {event.duration_s:.1f} s, {event.reason}" if event.reason else "",
                )
            self._message(event.message())

    def _message(self, message: Message) -> None:
        for listener in self._listeners:
            self._tell(listener.on_message, message)

    def _tell(self, listener: Any, what: object) -> None:
        try:
            listener(what)
        except Exception:  # no listener may stop the inspection
            self.failures += 1
            if self.failures == 1 or self.failures % 1000 == 0:
                log.exception("a listener failed (%d times)", self.failures)
