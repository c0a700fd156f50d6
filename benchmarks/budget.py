"""A budget on this machine while something else takes its cores: what holds and what is taken away.

    edgead tune part.edgead --budget 100 --encoder SMALL
    python -m benchmarks.budget part.edgead --budget 100 --frames 400

Three phases of as many frames each: alone, beside processes that keep every core busy, alone again, with the
budget and without one. Each runs in a process of its own, which also says what it took of memory, and they
take turns: half of the frames one way round, half the other, so that a slow minute hits neither alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import save, table

_PHASES = ("alone", "busy", "alone again")


def _spin() -> None:
    size = np.ones((400, 400), np.float32)
    while True:
        size = size @ size / 400


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    spinning = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in spinning:
        process.start()
    try:
        yield
    finally:
        for process in spinning:
            process.terminate()
            process.join()


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """All phases of one detector, in this process."""
    from edgead_runtime import Detector

    from edgead.jobs.bench.machine import memory_mb

    before = memory_mb() or 0.0
    begun = time.perf_counter()
    with Detector.load(job["detector"], budget_ms=job["budget"]) as detector:
        loaded = time.perf_counter() - begun
        frames = [reference.picture.frame for reference in detector.references]
        phases = {}
        for name in _PHASES:
            with _busy(job["processes"] if name == "busy" else 0):
                phases[name] = _phase(detector, frames, job["frames"])
        settings = list(getattr(detector, "settings", ["full"]))
        switches = getattr(detector, "switches", 0)
    return {
        "phases": phases,
        "settings": settings,
        "switches": switches,
        "load_s": loaded,
        "memory_mb": (memory_mb() or 0.0) - before,
    }


def _phase(detector: Any, frames: list[Any], count: int) -> dict[str, Any]:
    times, degraded, missed = [], 0, 0
    for number in range(count):
        begun = time.perf_counter()
        result = detector(frames[number % len(frames)])
        _ = result.map
        times.append((time.perf_counter() - begun) * 1e3)
        degraded += bool(result.degraded)
        missed += any("is missed" in note for note in result.notes)
    return {"times_ms": times, "degraded": degraded / count, "missed": missed / count}


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two halves of a run; loading and memory are those of the first."""
    phases = {
        name: {
            "times_ms": found["times_ms"] + other["phases"][name]["times_ms"],
            "degraded": (found["degraded"] + other["phases"][name]["degraded"]) / 2,
            "missed": (found["missed"] + other["phases"][name]["missed"]) / 2,
        }
        for name, found in one["phases"].items()
    }
    return {**one, "phases": phases, "switches": one["switches"] + other["switches"]}


def _rows(name: str, ran: dict[str, Any], budget: float) -> list[list[object]]:
    rows = []
    for phase, found in ran["phases"].items():
        p50, p99 = np.percentile(found["times_ms"], [50, 99])
        late = np.mean(np.asarray(found["times_ms"]) > budget)
        rows.append(
            [name, phase, f"{p50:.0f}", f"{p99:.0f}", f"{late:.1%}", f"{found['degraded']:.0%}",
             f"{found['missed']:.0%}"]
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector", type=Path)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--frames", type=int, default=400, help="in each phase")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that keep cores busy")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(_run(json.loads(options.job))))
        return
    half = {
        "detector": str(options.detector),
        "frames": max(1, options.frames // 2),
        "processes": options.processes,
    }
    ways = {"no budget": None, "budget": options.budget}
    halves: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for name in (*ways, *reversed(ways)):
        text = json.dumps({**half, "budget": ways[name]})
        command = [sys.executable, "-m", "benchmarks.budget", str(options.detector), "--budget", "1"]
        done = subprocess.run([*command, "--job", text], capture_output=True, text=True, check=True)
        halves[name].append(json.loads(done.stdout.splitlines()[-1]))
    ran = {name: _together(*both) for name, both in halves.items()}
    header = ["", "phase", "p50 (ms)", "p99", "later than the budget", "degraded", "said to be missed"]
    rows = [row for name, each in ran.items() for row in _rows(name, each, options.budget)]
    facts = [
        f"{name}: {len(each['settings'])} in memory ({'; '.join(each['settings'])}), {each['switches']} "
        f"switches, loaded in {each['load_s']:.1f} s, {each['memory_mb']:.0f} MB"
        for name, each in ran.items()
    ]
    title = f"Budget of {options.budget:g} ms, {options.frames} frames a phase"
    save("budget", "\n\n".join([title, *facts, table(header, rows)]), {"title": title, **ran})


if __name__ == "__main__":
    main()
