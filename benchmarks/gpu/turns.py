"""Ways that take turns, so that what the GPU's clock and heat do, they do to all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

from edgead_runtime.errors import EdgeadError

from edgead.jobs.bench.statistics import paired_ratio, spread

Run = Callable[[], float]
"""Does the work once; its milliseconds, by whatever clock the way has."""
_Made = TypeVar("_Made")
_WINDOW = 5
_LEAST_TURNS = 2
_STEADY = 0.03
"""How far the medians of two windows may be apart for a way to count as warm."""


@dataclass(frozen=True)
class Way:
    """One way of doing the work, as the tables name it."""

    title: str
    precision: str
    graph: str
    """``encoder``, ``frame graph``, or ``stages``: the encoder, and the search in NumPy."""
    clock: str = "host"
    """Whose clock: the host's, or ``cuda events``."""

    def __str__(self) -> str:
        return f"{self.title}, {self.precision}, {self.graph}"


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    turns: int
    counted: int = 5
    """Runs of a turn."""
    uncounted: int = 2
    """Runs before them: the shapes are new, a graph is captured, a clock has gone down."""
    warm_seconds: float = 10.0
    """At most, for each way."""
    most_seconds: float = 300.0
    """For all turns together; no turn is begun after it. A large bank in NumPy takes a second a frame."""


@dataclass
class Taken:
    """What was measured. A way that failed has no times."""

    times_ms: dict[Way, list[float]] = field(default_factory=dict)
    left_out: dict[Way, str] = field(default_factory=dict)
    unsteady: list[Way] = field(default_factory=list)
    """Those whose times still moved when their warming up ended."""


def reason(error: BaseException) -> str:
    """Why something does not run, in a line."""
    if isinstance(error, EdgeadError):
        return error.problem
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def try_each(makers: Mapping[Way, Callable[[], _Made]], left_out: dict[Way, str]) -> dict[Way, _Made]:
    """Make what can be made; why the others cannot be goes into ``left_out``."""
    made = {}
    for way, maker in makers.items():
        try:
            made[way] = maker()
        except Exception as error:  # noqa: BLE001  (each library's own; the others are measured all the same)
            _leave_out(way, error, left_out)
    return made


def open_all(
    openings: Mapping[Way, Callable[[], AbstractContextManager[_Made]]],
    stack: ExitStack,
    left_out: dict[Way, str],
) -> dict[Way, _Made]:
    """Open what can be opened, until the stack is closed."""

    def opened(opening: Callable[[], AbstractContextManager[_Made]]) -> _Made:
        return stack.enter_context(opening())

    return try_each({way: partial(opened, opening) for way, opening in openings.items()}, left_out)


def warm_up(run: Run, seconds: float) -> bool:
    """Run until two windows of runs in a row take the same time; whether they did before the time was up."""
    end = time.monotonic() + seconds
    before = None
    while True:
        now = statistics.median(run() for _ in range(_WINDOW))
        if before is not None and abs(now - before) <= _STEADY * before:
            return True
        if time.monotonic() >= end:
            return False
        before = now


def take_turns(runs: Mapping[Way, Run], amount: Amount) -> Taken:
    """Time several ways, a few runs of each at a time.

    One that fails in the middle is left out with its reason, and the others go on.
    """
    taken = Taken(times_ms={way: [] for way in runs})
    for way, run in runs.items():
        try:
            if not warm_up(run, amount.warm_seconds):
                taken.unsteady.append(way)
        except Exception as error:  # noqa: BLE001
            _drop(way, error, taken)
    end = time.monotonic() + amount.most_seconds
    for turn in range(amount.turns):
        if turn >= _LEAST_TURNS and time.monotonic() >= end:
            break
        order = list(taken.times_ms)
        # Whoever comes after the same neighbour every time has its heat every time.
        shift = turn % max(len(order), 1)
        for way in order[shift:] + order[:shift]:
            try:
                for _ in range(amount.uncounted):
                    runs[way]()
                taken.times_ms[way] += [runs[way]() for _ in range(amount.counted)]
            except Exception as error:  # noqa: BLE001
                _drop(way, error, taken)
    return taken


def rows_of(taken: Taken, plain: Way | None) -> list[dict[str, Any]]:
    """A row a way: percentiles, and how many times as fast as the plain one it is, with a 95 % interval.

    Args:
        taken: The times.
        plain: What is compared with, where it was measured.
    """
    rows: list[dict[str, Any]] = []
    base = None if plain is None else taken.times_ms.get(plain)
    for way, times in taken.times_ms.items():
        row: dict[str, Any] = {"way": str(way), **asdict(way), **_percentiles(times), "runs": len(times)}
        row["steady"] = way not in taken.unsteady
        if base is not None:
            ratio = paired_ratio(base, times)
            row["times_as_fast"] = [ratio.ratio, ratio.low, ratio.high]
        rows.append(row)
    return rows


def left_out_rows(left_out: Mapping[Way, str]) -> list[dict[str, Any]]:
    """Those that were not measured."""
    return [{"way": str(way), **asdict(way), "left_out": why} for way, why in left_out.items()]


def timed(do: Callable[[], object]) -> float:
    """Milliseconds on the host's clock."""
    start = time.perf_counter()
    do()
    return (time.perf_counter() - start) * 1e3


def _percentiles(times_ms: list[float]) -> dict[str, float]:
    found = spread(times_ms)
    return {"p50_ms": found.p50_ms, "p95_ms": found.p95_ms, "p99_ms": found.p99_ms}


def _drop(way: Way, error: BaseException, taken: Taken) -> None:
    _leave_out(way, error, taken.left_out)
    del taken.times_ms[way]


def _leave_out(way: Way, error: BaseException, left_out: dict[Way, str]) -> None:
    left_out[way] = reason(error)
    print(f"left out: {way}: {left_out[way]}", flush=True)
