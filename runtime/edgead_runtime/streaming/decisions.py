"""From scores to events: a pure state machine that knows no thread, no clock and no picture.

An event opens when ``hits`` of the last ``window`` frames were anomalous, is updated while it lasts, and
closes when ``close_after`` frames in a row were calm. The same readings give the same events.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from edgead_runtime.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Rules:
    """When an event opens and closes; by default each anomalous frame is one, so nothing is passed over."""

    hits: int = 1
    """Anomalous frames that it takes to open,"""
    window: int = 1
    """among so many inspected ones (``hits`` of ``window``)."""
    close_ratio: float = 1.0
    """Hysteresis: a frame is calm if its score is at most this share of the threshold."""
    close_after: int = 1
    """Calm frames in a row that close it."""
    cool_down_s: float = 0.0
    """After closing, no other opens in this area for so long."""
    close_unseen_s: float = 10.0
    """An event closes when no frame could be inspected for so long."""
    update_every_s: float = 10.0
    """An open event is told of again at most so often."""

    def __post_init__(self) -> None:
        if not 1 <= self.hits <= self.window:
            raise ConfigError(
                f"hits is {self.hits} and window {self.window}", "Give 1 <= hits <= window, e.g. 3 of 5."
            )
        if not 0 < self.close_ratio <= 1:
            raise ConfigError(f"close_ratio is {self.close_ratio}", "Give a share above 0, up to 1.")
        if self.close_after < 1:
            raise ConfigError(f"close_after is {self.close_after}", "Give 1 or more frames.")
        for name in ("cool_down_s", "close_unseen_s", "update_every_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}", "Give seconds, 0 or more.")


class Change(str, Enum):
    """What became of an event."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What one inspected frame says of one area."""

    score: float
    threshold: float
    evidence: T
    """Kept if this is the event's worst frame: picture, map, boxes; this module does not look at it."""
    counts: bool = True
    """False where the score is above the threshold on too small an area."""

    @property
    def hit(self) -> bool:
        """Whether it is anomalous; a score that is no number is."""
        return self.counts and not self.score <= self.threshold


@dataclass(frozen=True)
class Episode(Generic[T]):
    """An event as far as it has come; never changed, each step makes another."""

    number: int
    """Counts the events of this area from 1."""
    change: Change
    opened_s: float
    """Monotonic seconds."""
    last_s: float
    frames: int
    """Inspected since it opened, that one included."""
    hits: int
    worst: Reading[T]
    reason: str = ""
    """Why it closed: ``calm``, ``unseen``, or what :meth:`Decider.finish` was given."""

    @property
    def duration_s(self) -> float:
        """From its opening to the last frame or its closing."""
        return self.last_s - self.opened_s


class Decider(Generic[T]):
    """Turns the readings of one area into events, of which at most one is open.

    Times are monotonic seconds and are taken as not going back.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._recent: deque[bool] = deque(maxlen=rules.window)
        self._open: Episode[T] | None = None
        self._count = 0
        self._calm = 0
        self._now = -math.inf
        self._seen_s = -math.inf
        self._told_s = -math.inf
        self._cool_until_s = -math.inf

    @property
    def open(self) -> Episode[T] | None:
        """The event that is open."""
        return self._open

    def observe(self, now_s: float, reading: Reading[T]) -> list[Episode[T]]:
        """Take in an inspected frame; returns what became of events, in order."""
        changes = self.tick(now_s)
        now = self._now
        self._seen_s = now
        self._recent.append(reading.hit)
        if self._open is None:
            if sum(self._recent) >= self._rules.hits and now >= self._cool_until_s:
                changes.append(self._begin(now, reading))
            return changes
        self._calm = 0 if not self._is_calm(reading) else self._calm + 1
        event = self._with(self._open, reading, now)
        if self._calm >= self._rules.close_after:
            changes.append(self._close(event, now, "calm"))
        elif now - self._told_s >= self._rules.update_every_s:
            self._told_s = now
            self._open = event
            changes.append(event)
        else:
            self._open = event
        return changes

    def tick(self, now_s: float) -> list[Episode[T]]:
        """Let time pass without a frame that could be inspected."""
        self._now = max(self._now, now_s)
        unseen_s = self._now - self._seen_s
        if self._open is not None and unseen_s > self._rules.close_unseen_s:
            return [self._close(self._open, self._now, "unseen")]
        return []

    def finish(self, now_s: float, reason: str) -> list[Episode[T]]:
        """Close what is open, since nothing more will come."""
        self._now = max(self._now, now_s)
        return [] if self._open is None else [self._close(self._open, self._now, reason)]

    def _is_calm(self, reading: Reading[T]) -> bool:
        return not reading.hit and reading.score <= self._rules.close_ratio * reading.threshold

    def _begin(self, now: float, reading: Reading[T]) -> Episode[T]:
        self._count += 1
        self._calm = 0
        self._told_s = now
        # The frame that opens an event need not itself be a hit: 3 of 5 may be complete when a cool-down
        # ends.
        self._open = Episode(self._count, Change.OPENED, now, now, 1, int(reading.hit), reading)
        return self._open

    def _with(self, event: Episode[T], reading: Reading[T], now: float) -> Episode[T]:
        worst = reading if _worse(reading, event.worst) else event.worst
        hits = event.hits + reading.hit
        return Episode(event.number, Change.UPDATED, event.opened_s, now, event.frames + 1, hits, worst)

    def _close(self, event: Episode[T], now: float, reason: str) -> Episode[T]:
        self._open = None
        self._recent.clear()  # the next event needs hits of its own
        self._cool_until_s = now + self._rules.cool_down_s
        return Episode(
            event.number, Change.CLOSED, event.opened_s, now, event.frames, event.hits, event.worst, reason
        )


def _worse(reading: Reading[T], than: Reading[T]) -> bool:
    """More times its threshold; a score that is no number is as bad as can be."""
    if math.isnan(than.score) or math.isnan(reading.score):
        return math.isnan(reading.score) and not math.isnan(than.score)
    # In times the threshold, since two settings of a budget have scores in units of their own; and multiplied
    # out, since a threshold may be 0.
    here, there = reading.score * than.threshold, than.score * reading.threshold
    return here > there if here != there else reading.score > than.score
