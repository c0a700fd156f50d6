"""How long settings take, in turns of a few frames each."""

from __future__ import annotations

from collections.abc import Sequence

from edgead_runtime import Detector
from edgead_runtime.enrollment import Progress
from edgead_runtime.images import Frame

from edgead.jobs.bench.measuring import inspect_timed
from edgead.jobs.bench.record import TOTAL

BLOCK = 10


def times_in_turns(
    detectors: Sequence[Detector], frames: Sequence[Frame], count: int, stage: str, progress: Progress
) -> list[list[float]]:
    """Milliseconds of every frame, from memory to score and map.

    A line runs one setting frame after frame, so each has a block of frames to itself, the first of which
    (which finds another setting's data in the caches) is not timed. The blocks go round, so that a slow
    moment of the machine hits all of them.

    Args:
        detectors: The settings.
        frames: Taken round and round, in memory.
        count: Timed frames of each.
        stage: What progress calls it.
        progress: Told after each round.
    """
    times: list[list[float]] = [[] for _ in detectors]
    done = 0
    while done < count:
        block = min(BLOCK, count - done)
        for detector, kept in zip(detectors, times, strict=True):
            inspect_timed(detector, frames[(done - 1) % len(frames)])
            for number in range(done, done + block):
                kept.append(inspect_timed(detector, frames[number % len(frames)])[TOTAL])
        done += block
        progress(stage, done, count)
    return times
