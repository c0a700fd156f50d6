"""A detector that keeps to a latency budget by inspecting with less while it must."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgead_runtime.budget import BudgetController, useful_settings
from edgead_runtime.detector import Detector
from edgead_runtime.device_frames import check_host_frame
from edgead_runtime.errors import BundleError
from edgead_runtime.images import Frame
from edgead_runtime.leading import LeadingDetector
from edgead_runtime.result import Result
from edgead_runtime.tuning import StoredTuning

_WARM_UP = 1
_REHEARSALS = 3
_MOST_REHEARSALS = 9
_NO_DOUBT = 0.85
"""Share of a better setting's time, up to which three turns are enough to call one faster."""


class TieredDetector(LeadingDetector):
    """A detector with faster settings of the same part in reach, and a controller that chooses.

    All of them are loaded and warm, so changing takes no time; they all learn what it learns. A result is
    that of the setting that made it: score and threshold belong together, and scores of different settings
    are to be compared by :attr:`Result.times_threshold`. ``Result.degraded`` says what was taken away;
    ``Result.notes`` says it where the budget is missed and nothing faster is left.

    What is timed is a call, with the usual time of a map added, as if it were always made. :meth:`explain`
    takes the full setting, and its time.
    """

    def __init__(
        self,
        full: Detector,
        faster: Sequence[Detector],
        budget_ms: float,
        *,
        scales: Mapping[str, tuple[float, float]] | None = None,
        tuning: StoredTuning | None = None,
        start: int | None = None,
        remarks: Sequence[str] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Warm every setting up, time it on a good picture, and begin.

        One that gives no numbers is left out. One that is no faster than a more faithful one is not gone to.
        :attr:`budget_notes` says so.

        Args:
            full: The full setting.
            faster: The others, the most faithful first.
            budget_ms: What a frame may take at p99.
            scales: See :class:`LeadingDetector`.
            tuning: What goes into the file with it.
            start: The setting to begin with (0 is the full one), where that is known.
            remarks: For :attr:`budget_notes`.
            clock: Seconds.

        Raises:
            EdgeadError: The budget is not a finite number above 0.
        """
        super().__init__(full, faster, scales or {}, tuning)
        self._clock = clock
        self._remarks = tuple(remarks)
        begin_with = self._others[start - 1] if start else None
        self._leave_out_what_gives_no_numbers()
        calls, self._map_ms = self._rehearse()
        self._taken_away = ((), *((_what_differs(full, other, budget_ms),) for other in self._others))
        if begin_with is not None:
            start = self._others.index(begin_with) + 1 if begin_with in self._others else None
        expected = _sums(calls, self._map_ms)
        self._remarks += tuple(
            f"The setting '{_what(other)}' is not gone to here: at loading it was no faster than one that "
            "sees more."
            for setting, other in enumerate(self._others, start=1)
            if setting not in useful_settings(expected)
        )
        self._controller = BudgetController(budget_ms, expected, start)
        self._watching = threading.Lock()

    def _inspect_with(self, setting: int, frame: Frame) -> Result:
        return super().__call__(frame) if setting == 0 else self._others[setting - 1](frame)

    def _leave_out(self, other: Detector, reason: str) -> None:
        self._remarks += (f"The setting '{_what(other)}' is left out here: {reason}.",)
        self._do_without(other)

    def _leave_out_what_gives_no_numbers(self) -> None:
        for other in self._others:
            try:
                other(self.references[0].picture.frame)
            except BundleError as error:
                self._leave_out(other, error.problem)

    def _rehearse(self) -> tuple[list[float], list[float]]:
        """Median milliseconds of a call and of a map, for each setting, in turns.

        There are more turns where the first few do not tell which setting is the faster one.
        """
        frame = self.references[0].picture.frame
        settings = range(len(self._others) + 1)
        calls: list[list[float]] = [[] for _ in settings]
        maps: list[list[float]] = [[] for _ in settings]
        for turn in range(_WARM_UP + _MOST_REHEARSALS):
            for setting in settings:
                begun = self._clock()
                result = self._inspect_with(setting, frame)
                called = self._clock()
                _ = result.map
                if turn >= _WARM_UP:
                    calls[setting].append((called - begun) * 1e3)
                    maps[setting].append((self._clock() - called) * 1e3)
            if turn + 1 >= _WARM_UP + _REHEARSALS:
                call_ms, map_ms = _medians(calls), _medians(maps)
                if len(useful_settings(_sums(call_ms, map_ms), _NO_DOUBT)) == len(settings):
                    break
        return call_ms, map_ms

    def __call__(self, frame: Frame) -> Result:
        """Inspect one frame with the setting that the budget allows; see :meth:`Detector.__call__`."""
        check_host_frame(
            frame,
            "with a latency budget it may be inspected in another size, to which it is resized on the host",
            "load the detector without a budget (budget_ms)",
        )
        self.check_frame_size(frame)
        setting = self._controller.setting
        begun = self._clock()
        result = self._inspect_with(setting, frame)
        took = (self._clock() - begun) * 1e3 + self._map_ms[setting]
        with self._watching:
            self._controller.observe(setting, took)
            missed = self._missed()
        return replace(
            result, degraded=(*result.degraded, *self._taken_away[setting]), notes=(*result.notes, *missed)
        )

    def _missed(self) -> tuple[str, ...]:
        controller = self._controller
        if not controller.is_missed:
            return ()
        late = controller.late
        left = "there is no faster setting" if len(self._others) == 0 else "this is the fastest setting"
        return (
            f"The budget of {controller.budget_ms:g} ms is missed: {len(late)} of the last "
            f"{controller.frames_seen} frames took longer, up to {max(late):.0f} ms, and {left}.",
        )

    @property
    def budget_ms(self) -> float:
        """What a frame may take at p99."""
        return self._controller.budget_ms

    @property
    def setting(self) -> int:
        """What the next frame is inspected with: 0 is the full setting, higher numbers are faster."""
        return self._controller.setting

    @property
    def switches(self) -> int:
        """How often the setting has changed."""
        return self._controller.switches

    @property
    def settings(self) -> tuple[str, ...]:
        """What each setting is, in words."""
        return tuple(map(_what, (self, *self._others)))

    @property
    def expected_ms(self) -> tuple[float, ...]:
        """What a frame took in each setting when it was loaded, with its map; medians."""
        return self._controller.expected_ms

    @property
    def budget_notes(self) -> tuple[str, ...]:
        """Settings that are missing here, another machine's times, no tuning at all."""
        return self._remarks


def _medians(times_ms: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(each) for each in times_ms]


def _sums(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [left + right for left, right in zip(one, other, strict=True)]


def _size(detector: Detector) -> str:
    entry = detector.encoder.manifest.input
    return f"{entry.width} x {entry.height} pixels"


def _what(detector: Detector) -> str:
    return f"{_size(detector)}, {detector.encoder.engine_name}"


def _what_differs(full: Detector, other: Detector, budget_ms: float) -> str:
    here, there = _size(other), _size(full)
    if here == there:
        here, there = _what(other), _what(full)
    return f"To stay within {budget_ms:g} ms this was inspected at {here} instead of {there}."
