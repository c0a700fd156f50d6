"""How long enrolling takes, in units of encoding one frame.

    python -m benchmarks.enrollment --res 448 --pictures 8 --turns 3

Pictures of 1024 x 1024 in memory, eight rotations each, mask decision and leave-one-out calibration with all
of their maps; nothing is read or written. A few frames are encoded before and after each enrolment, in the
same process and by the same encoder, so both had the same minutes. Encoding a frame includes its resize.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.images import Frame

from benchmarks.common import encoder_bundle, real_frames, save, table

_ENCODED = 6
"""Frames encoded before and after each enrolment."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--res", type=int, default=448)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--engines", nargs="+", default=["onnxruntime", "openvino"])
    options = parser.parse_args()
    frames = real_frames(1024, options.pictures)
    views = options.pictures * len(get_recipe("anomalydino").rotations_deg)
    rows: list[list[object]] = []
    for engine in options.engines:
        with Encoder.load(encoder_bundle(options.res, fuse=True), engine=engine) as encoder:
            encoder.encode(frames[0])
            ratios, seconds = [], []
            for _ in range(options.turns):
                encoding = _encode(encoder, frames)
                start = time.perf_counter()
                Detector.enroll(encoder, frames, recipe="anomalydino")
                seconds.append(time.perf_counter() - start)
                encoding += _encode(encoder, frames)
                ratios.append(seconds[-1] / statistics.median(encoding))
        rows.append([engine, f"{statistics.median(seconds):.1f}", f"{statistics.median(ratios):.1f}", views])
        print(*rows[-1], flush=True)
    header = ["engine", "seconds", "encodes of one frame", "views"]
    save("enrollment", table(header, rows), {"rows": [dict(zip(header, row, strict=True)) for row in rows]})


def _encode(encoder: Encoder, frames: Sequence[Frame]) -> list[float]:
    taken = []
    for index in range(_ENCODED):
        start = time.perf_counter()
        encoder.encode(frames[index % len(frames)])
        taken.append(time.perf_counter() - start)
    return taken[1:]


if __name__ == "__main__":
    main()
