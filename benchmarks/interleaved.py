"""Ways in processes of their own that take turns, so that a slow minute of the machine hits all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.baselines.anomalib_environment import anomalib_python
from benchmarks.baselines.job import Job
from benchmarks.baselines.ways import FLOORS, WAYS
from benchmarks.common import OUT
from benchmarks.undisturbed import least_disturbed

Times = list[dict[str, float]]
"""Milliseconds by stage, frame by frame."""
_ROOT = Path(__file__).parent.parent
BLOCK = 3
"""Frames of a turn. The processes that wait do so without spinning."""


class WayFailedError(Exception):
    """A way does not run on this machine."""


class Worker:
    """A way in a process of its own."""

    def __init__(self, name: str, job: Job) -> None:
        way = {**WAYS, **FLOORS}[name]
        python = str(anomalib_python(OUT / "anomalib")) if way.anomalib else sys.executable
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.baselines.worker", name, json.dumps(asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env=_environment(anomalib=way.anomalib),
        )
        self._said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        answer = self._read()
        if "failed" in answer:
            self.close()
            raise WayFailedError(answer["failed"])

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said = [*self._said[-4:], line.strip()]

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WayFailedError(f"ended with exit code {self._process.wait()}: {' '.join(self._said)}")
        return json.loads(line)

    def ask(self, request: str) -> Any:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _environment(*, anomalib: bool) -> dict[str, str]:
    """Of a worker: the interpreter that anomalib has must not see this one's packages."""
    return {name: value for name, value in os.environ.items() if not (anomalib and name == "PYTHONPATH")}


@dataclass
class Taken:
    """What was measured of all ways at one job."""

    job: Job
    times: dict[str, Times] = field(default_factory=dict)
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    peak_mb: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    stolen: dict[str, list[float]] = field(default_factory=dict)
    """Of the cores' time in each turn that counts, what the machine's host took: 0 to 1."""


def take_turns(names: Sequence[str], job: Job, frames: int) -> Taken:
    """Time several ways on the same job, :data:`BLOCK` frames a turn.

    Args:
        names: Of :data:`WAYS` or :data:`FLOORS`.
        job: The work.
        frames: Of each way; rounded up to whole turns.
    """
    taken = Taken(job)
    workers: dict[str, Worker] = {}
    try:
        for name in names:
            print(f"starting {name} at {job.resolution}", flush=True)
            try:
                workers[name] = Worker(name, job)
            except (WayFailedError, RuntimeError) as error:
                taken.failed[name] = str(error)
                print(f"  does not run here: {error}", flush=True)
        taken.times = {name: [] for name in workers}
        for turn in range(-(-frames // BLOCK)):
            order = list(workers)
            # Whoever comes after the same neighbour every time has its heat every time.
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                stolen, times = least_disturbed(lambda worker=workers[name]: worker.ask(str(BLOCK)))
                taken.stolen.setdefault(name, []).append(stolen)
                taken.times[name] += times
        for name, worker in workers.items():
            taken.peak_mb[name] = worker.ask("memory")
            taken.results[name] = worker.ask("results")
    finally:
        for worker in workers.values():
            worker.close()
    return taken
