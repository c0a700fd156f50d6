"""The measuring itself: frames one after another, in turns, from several callers, and from a cold start."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

from edgead_runtime import Detector
from edgead_runtime.enrollment import Progress
from edgead_runtime.images import Frame

from edgead.jobs.bench.record import TOTAL, Throughput, in_order

Columns = dict[str, list[float]]
"""Milliseconds of every frame, by stage."""


def inspect_timed(detector: Detector, frame: Frame) -> dict[str, float]:
    """Inspect one frame to score and map; milliseconds by stage, and in total by a clock of its own."""
    start = time.perf_counter()
    result = detector(frame)
    _ = result.map
    total = (time.perf_counter() - start) * 1e3
    return {**result.timings_ms, TOTAL: total}


def latencies(
    detectors: Sequence[Detector], frames: Sequence[Frame], count: int, stage: str, progress: Progress
) -> list[Columns]:
    """Time every detector on the same frames, frame by frame in turns.

    Whoever comes after another finds its caches and its threads in disorder, so each is first equally often.

    Args:
        detectors: At least one.
        frames: Taken round and round, decoded already.
        count: Turns.
        stage: What progress calls it.
        progress: Told after each turn.
    """
    rows: list[list[dict[str, float]]] = [[] for _ in detectors]
    for turn in range(count):
        for place in range(len(detectors)):
            index = (turn + place) % len(detectors)
            rows[index].append(inspect_timed(detectors[index], frames[turn % len(frames)]))
        progress(stage, turn + 1, count)
    return [_columns(each) for each in rows]


def _columns(rows: Sequence[dict[str, float]]) -> Columns:
    stages = dict.fromkeys(stage for row in rows for stage in row)
    return in_order({stage: [round(row.get(stage, 0.0), 4) for row in rows] for stage in stages})


def throughput(detector: Detector, frames: Sequence[Frame], callers: int, count: int) -> Throughput:
    """Frames a second when several threads call one detector as fast as it answers.

    Args:
        detector: Shared by the threads.
        frames: Taken round and round.
        callers: Threads.
        count: Frames in all.

    Raises:
        EdgeadError: A frame could not be inspected.
    """
    numbers = itertools.count()
    failures: list[Exception] = []
    stopped = threading.Event()

    def work() -> None:
        try:
            # next() of a counter is one step of the interpreter: no two threads get the same number.
            while (number := next(numbers)) < count and not stopped.is_set():
                inspect_timed(detector, frames[number % len(frames)])
        except Exception as error:  # noqa: BLE001  (raised again by whoever waits for the thread)
            failures.append(error)
            stopped.set()

    threads = [threading.Thread(target=work) for _ in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stopped.set()  # Ctrl-C ends the threads too, at their next frame
    seconds = time.perf_counter() - start
    if failures:
        raise failures[0]
    return Throughput(callers, count, count / seconds)


def caller_counts(usable_cores: float) -> list[int]:
    """How many callers are tried: one, two, and as many as there are cores, up to eight."""
    return sorted({1, 2, max(1, min(8, int(usable_cores)))})
