"""Whether memory grows while a detector runs.

    python -m benchmarks.endurance --frames 10000 --res 112

One process, one detector by the frame graph, an OpenVINO and an ONNX Runtime engine one after the other; each
frame's score and map are made and let go. Every 500 frames the resident size is read, and every 1000 frames a
good part is added and taken back, since that is when the bank changes. What is said is the growth from the
first fifth of the frames, when pools and caches have filled, to the last.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edgead_runtime import Detector
from edgead_runtime.images import Frame

from benchmarks.common import encoder_bundle, real_frames, save, table
from edgead.jobs.bench.machine import memory_mb

_EVERY = 500
_CHANGE_EVERY = 1000


def run(detector: Detector, frames: Sequence[Frame], count: int) -> list[float]:
    """Resident sizes in MB while so many frames are inspected."""
    sizes = []
    for index in range(count):
        result = detector(frames[index % len(frames)])
        _ = result.map, result.regions
        if index % _CHANGE_EVERY == _CHANGE_EVERY - 1:
            detector.add_good(frames[-1], f"added-{index}")
            detector.undo()
        if index % _EVERY == _EVERY - 1:
            sizes.append(memory_mb() or 0.0)
    return sizes


def growth(sizes: Sequence[float]) -> float:
    """Median of the last fifth less median of the first."""
    fifth = max(1, len(sizes) // 5)
    return statistics.median(sizes[-fifth:]) - statistics.median(sizes[:fifth])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--res", type=int, default=112, help="of the encoder; growth does not depend on it")
    parser.add_argument("--engines", nargs="+", default=["openvino", "onnxruntime"])
    options = parser.parse_args()
    bundle = encoder_bundle(options.res, fuse=True)
    *frames, last = real_frames(512, 9)
    rows, sizes_of = [], {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.edgead"
        with Detector.enroll(bundle, frames[:2], threshold=1.0) as made:
            made.save(path)
        for engine in options.engines:
            start = time.monotonic()
            with Detector.load(path, engine=engine) as detector:
                sizes = sizes_of[engine] = run(detector, [*frames, last], options.frames)
            seconds = time.monotonic() - start
            rows.append(
                [engine, options.frames, f"{seconds:.0f}", f"{sizes[-1]:.0f}", f"{growth(sizes):+.1f}"]
            )
            print(*rows[-1], flush=True)
    header = ["engine", "frames", "seconds", "resident MB at the end", "growth MB"]
    save("endurance", table(header, rows), {"every": _EVERY, "resident_mb": sizes_of})


if __name__ == "__main__":
    main()
