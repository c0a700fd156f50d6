"""Latency per frame by stage, and peak memory, beside the way of AnomalyDINO's release.

    python -m benchmarks.latency --resolutions 448 224 --frames 60

Both pipelines run in processes of their own and take turns frame block by frame block, so that a slow
minute of the machine hits both. A 1024 x 1024 photograph in memory to score and 1024 x 1024 map; all twelve
blocks of ViT-S/14; one reference in eight rotations; fp32; no mask.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgead_runtime import Detector, get_recipe, read_picture

from benchmarks.common import OUT, encoder_bundle, machine, save, table, write_frames

_STAGES = ("preprocess", "encode", "search", "score", "map", "total")
_BLOCK = 10
_ALL_BLOCKS = 12


class Worker:
    """A pipeline in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        while (line := self._readline()) != "ready":
            print(line)

    def _readline(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with exit code {self._process.wait()}")
        return line.strip()

    def ask(self, request: str) -> Any:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return json.loads(self._readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def measure(resolution: int, frames: int) -> dict[str, Any]:
    """Time both pipelines at one resolution."""
    paths = write_frames(OUT / "frames")
    detector_path = OUT / f"latency_{resolution}.edgead"
    recipe = get_recipe("anomalydino").with_(mask="off")
    bundle = encoder_bundle(resolution, (_ALL_BLOCKS,))
    with Detector.enroll(bundle, [read_picture(paths[0])], recipe=recipe) as detector:
        detector.save(detector_path)
    names = [str(path) for path in paths]
    workers = {
        "edgead": Worker("edgead", str(detector_path), *names),
        "release": Worker("release", str(resolution), str(_ALL_BLOCKS), *names),
    }
    times: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(max(1, frames // _BLOCK)):
        for name, worker in workers.items():
            times[name] += worker.ask(str(_BLOCK))
    memory = {name: worker.ask("memory") for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    return {"resolution": resolution, "times_ms": times, "peak_memory_mb": memory}


def _median(times: list[dict[str, float]], stage: str) -> float:
    return statistics.median(frame.get(stage, 0.0) for frame in times)


def _p99(times: list[dict[str, float]]) -> float:
    totals = sorted(frame["total"] for frame in times)
    return totals[min(len(totals) - 1, round(0.99 * len(totals)))]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resolutions", type=int, nargs="+", default=[448, 224])
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    results = [measure(resolution, options.frames) for resolution in options.resolutions]
    rows = []
    for result in results:
        release_total = _median(result["times_ms"]["release"], "total")
        for name, times in result["times_ms"].items():
            rows.append(
                [
                    result["resolution"],
                    name,
                    *(f"{_median(times, stage):.1f}" for stage in _STAGES),
                    f"{_p99(times):.0f}",
                    f"{release_total / _median(times, 'total'):.2f}x",
                    f"{result['peak_memory_mb'][name]:.0f}",
                ]
            )
    header = ["res", "pipeline", *(f"{stage} ms" for stage in _STAGES), "p99 ms", "ratio", "peak MB"]
    facts = machine()
    text = f"Medians on {facts['cores']} cores of {facts['cpu']}; ratio: to the release's way, same run.\n\n"
    save("latency", text + table(header, rows), {"results": results})


if __name__ == "__main__":
    main()
