"""When to inspect with less, so that a latency budget holds, and when with everything again.

A pure object: it is fed with the time of every frame and says which setting the next one should have. It
looks at no clock and starts no thread.

A budget holds at p99 if at most one frame in a hundred takes longer. So the second late frame among the last
hundred is the moment to step down. To step up, a hundred frames in a row must have left room for what the
better setting is expected to take; after a step up that did not hold, the wait doubles.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence

from edgead_runtime.errors import EdgeadError

WINDOW = 100
"""Frames that are looked back on; p99 means at most one of them is late."""
UP_AFTER = 100
"""Frames in one setting before a better one is tried."""
ROOM = 0.9
"""Share of the budget that the better setting may be expected to take at p99."""
CLEARLY_FASTER = 0.95
"""Share of a better setting's time: one that takes more sees less for nothing."""
_MOST_PATIENCE = 32
"""How many times the wait for a step up can become the first one."""
_RELAPSE = 4
"""A step up that lasted no longer than so many waits was one too early."""
_RECENT = 9
"""Frames whose median says how slow the machine is right now."""
_USUAL_P99 = 1.2
"""p99 over median of a quiet machine, for where to begin."""


def check_budget(budget_ms: float) -> None:
    """Refuse what is no budget.

    Raises:
        EdgeadError: It is not a finite number above 0.
    """
    if not (math.isfinite(budget_ms) and budget_ms > 0):
        raise EdgeadError(
            f"a budget of {budget_ms:g} ms makes no sense", "Give the milliseconds a frame may take, e.g. 33."
        )


def useful_settings(expected_ms: Sequence[float], share: float = CLEARLY_FASTER) -> list[int]:
    """The settings that are clearly faster than every one that is better; the first always is among them.

    Args:
        expected_ms: What a frame takes in each, the best first.
        share: What one may take at most of each better one's time.
    """
    useful = [0]
    for setting, ms in enumerate(expected_ms):
        if ms < share * expected_ms[useful[-1]]:
            useful.append(setting)
    return useful


class BudgetController:
    """Chooses among settings, the best first. Not thread-safe: its owner takes care of that."""

    def __init__(self, budget_ms: float, expected_ms: Sequence[float], start: int | None = None) -> None:
        """Begin with the best setting that is expected to hold the budget.

        Args:
            budget_ms: What a frame may take.
            expected_ms: What a frame usually takes in each setting, measured in turns: the ratios count. One
                that is not clearly faster than every better one is left, and never gone to.
            start: Where to begin instead.

        Raises:
            EdgeadError: The budget is not a finite number above 0.
            ValueError: There is no setting.
        """
        check_budget(budget_ms)
        if not expected_ms:
            raise ValueError("nothing to choose from")
        self.budget_ms = budget_ms
        self.expected_ms = tuple(expected_ms)
        self._useful = useful_settings(self.expected_ms)
        self.setting = self._best(_USUAL_P99) if start is None else start
        """What the next frame should be inspected with."""
        self.switches = 0
        self._times: deque[float] = deque(maxlen=WINDOW)
        self._frames = 0
        """In this setting."""
        self._patience = 1
        self._came_up = False

    @property
    def late(self) -> tuple[float, ...]:
        """Milliseconds of those of the last frames in this setting that took too long."""
        return tuple(time for time in self._times if time > self.budget_ms)

    @property
    def frames_seen(self) -> int:
        """How many frames :attr:`late` is of: at most :data:`WINDOW`, and since the last switch."""
        return len(self._times)

    @property
    def is_missed(self) -> bool:
        """Whether the budget does not hold at p99 now. With a faster setting left it never stays so."""
        return len(self.late) > 1

    def observe(self, setting: int, ms: float) -> None:
        """Take note of a frame.

        Args:
            setting: What it was inspected with. One that is no longer the current says nothing.
            ms: How long it took.
        """
        if setting != self.setting:
            return
        self._times.append(ms)
        self._frames += 1
        if self.is_missed:
            if self.setting != self._useful[-1]:
                self._step_down()
        elif self.setting > 0 and self._has_room():
            self._go(self._better)
            self._came_up = True

    def _step_down(self) -> None:
        recent = statistics.median(list(self._times)[-_RECENT:])
        slowdown = recent / max(self.expected_ms[self.setting], 1e-9)
        relapsed = self._came_up and self._frames <= _RELAPSE * UP_AFTER * self._patience
        self._patience = min(2 * self._patience, _MOST_PATIENCE) if relapsed else 1
        self._go(self._best(slowdown, instead_of=self.setting))
        self._came_up = False

    @property
    def _better(self) -> int:
        """The next better of the useful settings."""
        return max(setting for setting in self._useful if setting < self.setting)

    def _has_room(self) -> bool:
        if self._frames < UP_AFTER * self._patience or len(self._times) < WINDOW or self.late:
            return False
        worst_but_one = sorted(self._times)[-2]
        better, this = self.expected_ms[self._better], self.expected_ms[self.setting]
        return worst_but_one * better / max(this, 1e-9) <= ROOM * self.budget_ms

    def _best(self, slowdown: float, instead_of: int | None = None) -> int:
        """The best of the useful settings behind one that is expected to hold; else the fastest."""
        for setting in self._useful:
            is_behind = instead_of is None or setting > instead_of
            if is_behind and self.expected_ms[setting] * slowdown <= self.budget_ms:
                return setting
        return self._useful[-1]

    def _go(self, setting: int) -> None:
        self.setting = setting
        self.switches += 1
        self._frames = 0
        self._times.clear()
