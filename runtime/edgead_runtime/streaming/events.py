"""Events with their evidence: what the decisions of one camera come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from edgead_runtime.anomaly_map import Region
from edgead_runtime.result import Result
from edgead_runtime.streaming.clock import Clock, stamp
from edgead_runtime.streaming.decisions import Change, Decider, Episode, Reading, Rules
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.messages import Message, picture_and_map
from edgead_runtime.streaming.zones import Zone, check_zones, measure_zone

_REGIONS_TOLD = 20


@dataclass(frozen=True, eq=False)
class Evidence:
    """A frame and what the detector said of it."""

    frame: CameraFrame
    result: Result


@dataclass(frozen=True, eq=False)
class Event:
    """Something anomalous that lasts: opened, updated, closed. Each state is an object of its own."""

    id: str
    """The same in all its states, and never given twice, also not by another run."""
    camera: str
    zone: str
    """The area it is in; empty for the whole frame."""
    change: Change
    opened_at: datetime
    """Wall clock, UTC."""
    at: datetime
    """When it came to this state; wall clock, UTC."""
    duration_s: float
    """By the clock that does not jump."""
    frames: int
    hits: int
    score: float
    """Of its worst frame."""
    threshold: float
    reason: str
    """Why it closed: ``calm``, ``unseen`` (no frame could be inspected), or why the stream ended."""
    worst: Evidence = field(repr=False)
    """Its worst frame so far, with map and boxes in ``worst.result``."""

    @property
    def regions(self) -> tuple[Region, ...]:
        """Boxes of the worst frame, strongest first."""
        return self.worst.result.regions

    def message(self) -> Message:
        """As sinks get it; picture and map go with the opening and the closing."""
        frame, result = self.worst.frame, self.worst.result
        image = frame.image
        peak = float(result.map.max()) if image is not None else 0.0
        body = {
            "zone": self.zone,
            "opened_at": stamp(self.opened_at),
            "duration_s": round(self.duration_s, 3),
            "frames": self.frames,
            "hits": self.hits,
            "score": _plain(self.score),
            "threshold": _plain(self.threshold),
            "reason": self.reason,
            "worst": {
                "sequence": frame.sequence,
                "name": frame.name,
                "captured_at": stamp(frame.captured_at),
                "size": None if image is None else [image.shape[1], image.shape[0]],
                "regions": [_region(region) for region in self.regions[:_REGIONS_TOLD]],
                "map_full_scale": _plain(peak),
                "degraded": list(result.degraded),
                "notes": list(result.notes),
                "frozen": frame.frozen,
            },
            "provenance": asdict(result.provenance),
        }
        shown = image is not None and self.change is not Change.UPDATED
        attachments = picture_and_map(image, lambda: result.map, peak) if shown and image is not None else {}
        return Message(
            "event", self.camera, self.id, self.change.value, stamp(self.at), body, attachments=attachments
        )


def _plain(number: float) -> float | None:
    """As JSON has it, which knows no NaN."""
    return round(float(number), 6) if math.isfinite(number) else None


def _region(region: Region) -> dict[str, Any]:
    return {**asdict(region), "peak": _plain(region.peak)}


class Judge:
    """Holds the decisions of one camera, one for each zone.

    Args:
        camera: Its name.
        rules: When events open and close.
        zones: Areas judged each by itself; none: the whole frame.
        pixel_threshold: Gives the detector's, by whose scale thresholds of zones are given. A budget or a
            cascade may answer with another setting. A zone without one has that of the result.
        run: Makes ids differ between runs.
        clock: For stamps.
    """

    def __init__(
        self,
        camera: str,
        rules: Rules,
        zones: Sequence[Zone],
        pixel_threshold: Callable[[], float],
        run: str,
        clock: Clock,
    ) -> None:
        check_zones(zones)
        self._camera, self._run, self._clock = camera, run, clock
        self._zones = tuple(zones)
        self._pixel_threshold = pixel_threshold
        self._deciders: dict[str, Decider[Evidence]] = {
            name: Decider(rules) for name in ([zone.name for zone in zones] or [""])
        }

    @property
    def open_events(self) -> int:
        """How many events are open."""
        return sum(decider.open is not None for decider in self._deciders.values())

    def observe(self, frame: CameraFrame, result: Result) -> list[Event]:
        """Take in an inspected frame."""
        readings = self._readings(frame, result)
        return [
            self._event(zone, episode)
            for zone, decider in self._deciders.items()
            for episode in decider.observe(frame.captured_s, readings[zone])
        ]

    def tick(self) -> list[Event]:
        """Let time pass without an inspected frame."""
        now = self._clock.monotonic()
        return [
            self._event(z, episode) for z, decider in self._deciders.items() for episode in decider.tick(now)
        ]

    def finish(self, reason: str) -> list[Event]:
        """Close what is open."""
        now = self._clock.monotonic()
        return [
            self._event(zone, episode)
            for zone, decider in self._deciders.items()
            for episode in decider.finish(now, reason)
        ]

    def _readings(self, frame: CameraFrame, result: Result) -> Mapping[str, Reading[Evidence]]:
        evidence = Evidence(frame, result)
        if not self._zones:
            return {"": Reading(result.score, result.threshold, evidence)}
        readings = {}
        for zone in self._zones:
            threshold = result.pixel_threshold
            if zone.threshold is not None:
                # It was given in distances of the full setting; a faster one has a scale of its own.
                full = self._pixel_threshold()
                threshold = zone.threshold * (threshold / full if full else 1.0)
            score, area_px = measure_zone(zone, result.map, threshold)
            readings[zone.name] = Reading(score, threshold, evidence, counts=area_px >= zone.min_area_px)
        return readings

    def _event(self, zone: str, episode: Episode[Evidence]) -> Event:
        now = self._clock.now()
        # By the durations, so that a clock set in between does not make an event end before it began.
        since_s = self._clock.monotonic() - episode.opened_s
        named = "-".join(part for part in (self._camera, zone) if part)
        return Event(
            id=f"{self._run}-{named}-{episode.number:06d}",
            camera=self._camera,
            zone=zone,
            change=episode.change,
            opened_at=now - timedelta(seconds=max(0.0, since_s)),
            at=now,
            duration_s=episode.duration_s,
            frames=episode.frames,
            hits=episode.hits,
            score=episode.worst.score,
            threshold=episode.worst.threshold,
            reason=episode.reason,
            worst=episode.worst.evidence,
        )
