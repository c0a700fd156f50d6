"""The drift of one camera: from its frames to alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from edgead_runtime.result import Result
from edgead_runtime.scoring import mean_distance
from edgead_runtime.streaming.drift import strain
from edgead_runtime.streaming.drift.alarm import Alarm, Turn
from edgead_runtime.streaming.drift.baseline import Baseline
from edgead_runtime.streaming.drift.looking import look_at
from edgead_runtime.streaming.drift.position import PositionWatch
from edgead_runtime.streaming.drift.recent import RecentQuantiles
from edgead_runtime.streaming.drift.settings import DriftSettings
from edgead_runtime.streaming.drift.words import why, why_moved
from edgead_runtime.streaming.frames import CameraFrame

SCORES = ("score", "patch_distance")
POSITION = "position"
OF_FULL_SETTING = ("mask_area", *SCORES)
"""Measures of frames that the full setting answered: a faster one sees and scores on a scale of its own."""
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Drifted:
    """An alert opened or closed."""

    measure: str
    turn: Turn
    text: str
    """Why it opened."""
    since: datetime
    """Wall clock, UTC."""
    now: float
    """Median of the last frames; of ``position`` the larger part of the shift, as a share."""
    enrolled: float
    """Median of the good pictures; of ``position`` 0."""


@dataclass(frozen=True)
class Standing:
    """How one measure stands, for whoever shows numbers."""

    strain: float | None
    """In units of the limit; ``None`` while it is not known."""
    is_open: bool
    quantiles: tuple[float, ...]
    """Of the last frames, at :data:`QUANTILES`; of ``position`` the shift to the right and down."""
    enrolled: float


class DriftWatch:
    """Follows one camera. Not thread-safe, but :attr:`standing` may be read from any thread.

    Args:
        baseline: What enrolment looked like.
        settings: Limits.
        threshold: Gives the detector's own: frames that a faster setting answered have scores of another
            scale, and say nothing of drift.
    """

    def __init__(self, baseline: Baseline, settings: DriftSettings, threshold: Callable[[], float]) -> None:
        self._baseline, self._settings, self._threshold = baseline, settings, threshold
        self._limits = {
            name: getattr(settings, name) for name in baseline.ranges if getattr(settings, name) > 0
        }
        self._recent = {name: RecentQuantiles(settings.window) for name in self._limits}
        watched = settings.position > 0 and baseline.place is not None
        self._position = PositionWatch(baseline.place) if watched and baseline.place is not None else None
        names = [*self._limits, *([POSITION] if self._position else [])]
        self._alarms = {name: Alarm(settings.for_s, settings.close_ratio) for name in names}
        self._began: dict[str, datetime] = {}
        self.unanswered = 0
        """Frames since the last one that the full setting answered."""
        self.standing: dict[str, Standing] = {}
        """How each measure stands; another object after each frame."""

    @property
    def measures(self) -> tuple[str, ...]:
        """What is watched."""
        return tuple(self._alarms)

    @property
    def blind_to(self) -> tuple[str, ...]:
        """What would be watched, and is not now, for want of frames that the full setting answered."""
        if self.unanswered < self._settings.window:
            return ()
        return tuple(name for name in self._limits if name in OF_FULL_SETTING)

    def observe(self, frame: CameraFrame, result: Result) -> list[Drifted]:
        """Take in an inspected frame.

        Args:
            frame: With its image.
            result: Of it. One that repeats an earlier answer says nothing of scores, but its frame is looked
                at: each may differ a little from the one before it, and the last a lot from enrolment.
        """
        if frame.image is None or frame.frozen:
            return []
        look = look_at(frame.image)
        self._add("brightness", look.brightness)
        self._add("sharpness", look.sharpness)
        if self._position is not None:
            self._position.add(look.small)
        of_full_setting = not result.degraded and result.threshold == self._threshold()
        if not result.repeated:
            self.unanswered = 0 if of_full_setting else self.unanswered + 1
        if of_full_setting and not result.repeated:
            if result.mask is not None:
                self._add("mask_area", float(result.mask.mean()))
            if not result.is_anomaly:
                self._add("score", result.score)
                self._add("patch_distance", mean_distance(result.patch_distances, result.mask))
        return self._turns(frame)

    def _add(self, name: str, value: float) -> None:
        recent = self._recent.get(name)
        if recent is not None:
            recent.add(value)

    def _turns(self, frame: CameraFrame) -> list[Drifted]:
        drifted, standing = [], {}
        for name, alarm in self._alarms.items():
            found = self._strain(name)
            turn = alarm.observe(frame.captured_s, found)
            if alarm.since_s is None:
                began = self._began.pop(name, frame.captured_at)
            else:
                began = self._began.setdefault(name, frame.captured_at)
            standing[name] = Standing(found, alarm.is_open, *self._numbers(name))
            if turn is not None:
                drifted.append(self._drifted(name, turn, began))
        self.standing = standing
        return drifted

    def _strain(self, name: str) -> float | None:
        if name == POSITION:
            shift = None if self._position is None else self._position.shift
            return None if shift is None else strain.of_shift(shift, self._settings.position)
        recent, enrolled = self._recent[name], self._baseline.ranges[name]
        if not recent.full or name in self.blind_to:  # what was seen long ago says nothing of now
            return None
        if name in SCORES:
            return strain.of_scores(recent, enrolled, self._limits[name])
        return strain.of_range(name, recent.median, enrolled, self._limits[name])

    def _numbers(self, name: str) -> tuple[tuple[float, ...], float]:
        if name == POSITION:
            return (self._position.shift if self._position is not None else None) or (), 0.0
        recent = self._recent[name]
        quantiles = tuple(recent.quantile(share) for share in QUANTILES) if len(recent) else ()
        return quantiles, self._baseline.ranges[name].median

    def _drifted(self, name: str, turn: Turn, since: datetime) -> Drifted:
        if name == POSITION:
            shift = (self._position.shift if self._position is not None else None) or (0.0, 0.0)
            now, enrolled = max(map(abs, shift)), 0.0
            text = why_moved(since, shift) if turn == "opened" else ""
        else:
            now, enrolled = self._recent[name].median, self._baseline.ranges[name].median
            text = why(name, since, now, self._baseline.ranges[name]) if turn == "opened" else ""
        return Drifted(name, turn, text, since, now, enrolled)
