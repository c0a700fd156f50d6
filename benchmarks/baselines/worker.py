"""One way in a process of its own, so that thread pools and peak memory are nobody else's.

Started by :mod:`benchmarks.interleaved` with the way's name and the job as JSON. Each line on standard input
is a request and gets one line of JSON: a number of frames (their stage times), ``results`` (score and
distances of every frame) or ``memory`` (the peak in MB).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from benchmarks.baselines.job import Inspect, Job
from benchmarks.baselines.ways import FLOORS, WAYS

_WARM_UP = 3


def peak_memory_mb() -> float | None:
    """Largest resident size of this process; getrusage would count the parent's before the fork."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


class Server:
    """A way, its frames and where the next one is."""

    def __init__(self, inspect: Inspect, frames: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> None:
        self._inspect = inspect
        self._frames = frames
        self._next = 0
        self.times(_WARM_UP)

    def times(self, count: int) -> list[dict[str, float]]:
        """Stage times of the next frames; one more before them is not told, since it woke the process."""
        times = []
        for _ in range(count + 1):
            times.append(self._inspect(self._frames[self._next % len(self._frames)]).stages_ms)
            self._next += 1
        return times[1:]

    def results(self) -> list[dict[str, Any]]:
        """Score and distances of every frame."""
        found = [self._inspect(frame) for frame in self._frames]
        return [
            {
                "score": float(each.score),
                "distances": None if each.distances is None else np.asarray(each.distances, float).tolist(),
            }
            for each in found
        ]

    def answer(self, request: str) -> Any:
        """The answer to one line."""
        if request == "memory":
            return peak_memory_mb()
        return self.results() if request == "results" else self.times(int(request))


def main(name: str, job_text: str, answers: TextIO) -> None:
    """Serve requests until standard input ends."""
    job_fields = json.loads(job_text)
    job = Job(**{**job_fields, "frames": tuple(job_fields["frames"])})
    way = {**WAYS, **FLOORS}[name]
    try:
        make = importlib.import_module(f"benchmarks.baselines.{way.module}").make
        frames = [np.asarray(cv2.imread(path), dtype=np.uint8) for path in job.frames]
        server = Server(make(job, **way.options), frames)
    except Exception as error:  # noqa: BLE001  (a way that does not run here is a result too)
        lines = str(error).strip().splitlines() or [""]
        print(json.dumps({"failed": f"{type(error).__name__}: {lines[0]}"}), file=answers, flush=True)
        return
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(server.answer(line.strip())), file=answers, flush=True)


if __name__ == "__main__":
    # Libraries write to standard output what they like; the answers go where only answers go.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(sys.argv[1], sys.argv[2], channel)
