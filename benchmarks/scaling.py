"""How latency grows with the resolution, with the bank, and with the cameras on one machine.

    python -m benchmarks.scaling resolution --resolutions 224 336 448 672
    python -m benchmarks.scaling bank --references 1 2 5 10 20 50 100
    python -m benchmarks.scaling cameras --cameras 1 2 4 8

Resolutions: processes that take turns, as in :mod:`benchmarks.latency`. Banks: one process and one encoder,
detectors that take turns frame by frame; references without rotations. Cameras: a thread and a detector each,
one shared encoder, every camera as fast as it is answered.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.enrollment import ignore_progress
from edgead_runtime.manifest import Precision

from benchmarks.baselines.ways import WAYS
from benchmarks.common import OUT, encoder_bundle, machine, real_frames, save, table
from benchmarks.interleaved import take_turns
from benchmarks.latency import totals
from benchmarks.work import ALL_BLOCKS, job_for, references
from edgead.evaluation.remembering import RememberingEncoder
from edgead.jobs.bench.measuring import inspect_timed, latencies
from edgead.jobs.bench.statistics import paired_ratio, spread

RESOLUTIONS = (224, 336, 448, 672)
REFERENCES = (1, 2, 5, 10, 20, 50, 100)
CAMERAS = (1, 2, 4, 8)
SHOWN_WAYS = ("release", "plain-onnxruntime", "edgead-onnxruntime", "edgead-openvino", "edgead-openvino-bf16")
_BANK_RESOLUTION = 448
_WARM_UP = 2


def by_resolution(resolutions: Sequence[int], ways: Sequence[str], frames: int) -> dict[str, Any]:
    """Median milliseconds of each way at each resolution."""
    medians: dict[str, dict[int, float]] = {}
    for resolution in resolutions:
        taken = take_turns(ways, job_for(resolution), frames)
        for name, times in taken.times.items():
            medians.setdefault(name, {})[resolution] = statistics.median(totals(times))
    return {"resolutions": list(resolutions), "medians_ms": medians}


def resolution_table(found: dict[str, Any]) -> str:
    """A line a way."""
    rows = [
        [WAYS[name].title, *(f"{medians[resolution]:.0f}" for resolution in found["resolutions"])]
        for name, medians in found["medians_ms"].items()
    ]
    return table(["median ms at", *(f"{resolution}" for resolution in found["resolutions"])], rows)


def by_references(counts: Sequence[int], engine: str, precision: Precision, frames: int) -> dict[str, Any]:
    """Times of detectors with banks of different sizes that share one encoder."""
    bundle = encoder_bundle(_BANK_RESOLUTION, (ALL_BLOCKS,), fuse=True)
    paths = _enroll_banks(bundle, counts)
    shown = real_frames(count=8)
    with (
        Encoder.load(bundle, engine=engine, precision=precision) as encoder,
        _loaded([paths[count] for count in counts], encoder) as detectors,
    ):
        latencies(detectors, shown, _WARM_UP, "warm-up", ignore_progress)
        columns = latencies(detectors, shown, frames, "measure", ignore_progress)
        scores = [[float(detector(frame).score) for frame in shown] for detector in detectors]
        rows = [sum(len(part.tokens[0]) for part in detector.references) for detector in detectors]
    return {
        "engine": encoder.engine_name,
        "precision": precision,
        "references": list(counts),
        "vectors": rows,
        "times_ms": columns,
        "scores": scores,
    }


def _enroll_banks(bundle: Path, counts: Sequence[int]) -> dict[int, Path]:
    """Detectors of so many references each; every picture is encoded once."""
    folder = OUT / "banks"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {count: folder / f"{count}.edgead" for count in counts}
    # The last picture sets the threshold: leaving each reference out would take longer than all the rest.
    *good, held_out = references(max(counts) + 1)
    recipe = get_recipe("anomalydino-informed").with_(mask="off")
    with RememberingEncoder.load(bundle) as encoder:
        for count in counts:
            print(f"enrolling {count} references", flush=True)
            Detector.enroll(encoder, good[:count], recipe=recipe, calibration_good=[held_out]).save(
                paths[count]
            )
    return paths


@contextlib.contextmanager
def _loaded(paths: Sequence[Path], encoder: Encoder) -> Iterator[list[Detector]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Detector.load(path, encoder=encoder)) for path in paths]


def bank_table(found: dict[str, Any]) -> str:
    """A line a bank."""
    first = found["times_ms"][0]["total"]
    rows = []
    for count, vectors, times in zip(found["references"], found["vectors"], found["times_ms"], strict=True):
        ratio = paired_ratio(times["total"], first)
        rows.append(
            [
                count,
                f"{vectors:,}",
                f"{spread(times['search']).p50_ms:.1f}" if "search" in times else "-",
                f"{spread(times['total']).p50_ms:.1f}",
                f"{ratio.ratio:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})",
            ]
        )
    return table(["references", "vectors", "search ms", "total ms", "times the first"], rows)


def by_cameras(counts: Sequence[int], engine: str, precision: Precision, frames: int) -> dict[str, Any]:
    """Latency and frames a second of so many cameras, each with a detector; one encoder for all."""
    job = job_for(_BANK_RESOLUTION)
    shown = real_frames(count=8)
    bundle = encoder_bundle(_BANK_RESOLUTION, (ALL_BLOCKS,), fuse=True)
    with (
        Encoder.load(bundle, engine=engine, precision=precision) as encoder,
        _loaded([Path(job.detector)] * max(counts), encoder) as detectors,
    ):
        latencies(detectors[:1], shown, _WARM_UP, "warm-up", ignore_progress)
        found = []
        for count in counts:
            times, seconds = _run_cameras(detectors[:count], shown, max(2, frames // count))
            found.append({"cameras": count, "times_ms": times, "seconds": seconds})
    return {
        "engine": encoder.engine_name,
        "precision": precision,
        "runs": found,
    }


def _run_cameras(detectors: Sequence[Detector], shown: Sequence[Any], each: int) -> tuple[list[float], float]:
    """Times of all frames, and how long it took in all."""
    times: list[float] = []
    ready = threading.Barrier(len(detectors) + 1)

    def camera(detector: Detector) -> None:
        ready.wait()
        for number in range(each):
            times.append(inspect_timed(detector, shown[number % len(shown)])["total"])

    threads = [threading.Thread(target=camera, args=[detector]) for detector in detectors]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return times, time.perf_counter() - start


def cameras_table(found: dict[str, Any]) -> str:
    """A line a number of cameras."""
    rows = []
    for run in found["runs"]:
        times = spread(run["times_ms"])
        rate = len(run["times_ms"]) / run["seconds"]
        rows.append(
            [
                run["cameras"],
                f"{times.p50_ms:.0f}",
                f"{times.p99_ms:.0f}",
                f"{rate / run['cameras']:.2f}",
                f"{rate:.2f}",
            ]
        )
    header = ["cameras", "p50 ms", "p99 ms", "frames/s a camera", "frames/s in all"]
    return table(header, rows)


def main() -> None:
    """Measure and print one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["resolution", "bank", "cameras"])
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--resolutions", type=int, nargs="+", default=list(RESOLUTIONS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(SHOWN_WAYS))
    parser.add_argument("--references", type=int, nargs="+", default=list(REFERENCES))
    parser.add_argument("--cameras", type=int, nargs="+", default=list(CAMERAS))
    options = parser.parse_args()
    cores = f"{machine()['cores']} cores of {machine()['cpu']}"
    if options.what == "resolution":
        found = by_resolution(options.resolutions, options.ways, options.frames)
        text = resolution_table(found)
    elif options.what == "bank":
        found = by_references(options.references, options.engine, options.precision, options.frames)
        text = bank_table(found)
    else:
        found = by_cameras(options.cameras, options.engine, options.precision, options.frames)
        text = cameras_table(found)
    save(f"scaling_{options.what}", f"On {cores}.\n\n{text}", found)


if __name__ == "__main__":
    main()
