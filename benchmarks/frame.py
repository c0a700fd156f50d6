"""A frame by the frame graph against the same frame by the stages: time, and how far the results are apart.

    python -m benchmarks.frame --res 224 448 --rows 8192 32768

A 1024 x 1024 photograph in memory to its score, without mask and map; all 12 blocks of ViT-S/14. Both ways
take turns, a few frames at a time: the stages search in NumPy, whose idle threads slow whatever comes next.
``not the encoder`` is what the graph takes longer than encoding alone, with the resize, as a share of the
frame. Errors are to the stages in fp32 on ONNX Runtime: the worst distance in units of cosine distance, the
median and the worst score in per cent.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from edgead_runtime import Detector, Encoder, Result
from edgead_runtime.errors import EngineUnavailableError
from edgead_runtime.images import Frame

from benchmarks.common import PAPERS_RESIZE, encoder_bundle, real_frames, save, table

TURNS_OF = 4
"""Frames of one way at a time; the first is not counted."""
WAYS = (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
VIEWS = 8


def enroll(bundle: Path, rows: int, path: Path) -> None:
    """Write a detector with so many rows in its bank."""
    with Encoder.load(bundle) as encoder:
        of_one = VIEWS * int(np.prod(encoder.manifest.grid))
        frames = real_frames(count=8 + rows // of_one)[8:]
        Detector.enroll(encoder, frames, recipe="anomalydino", threshold=1.0).save(path)


def compare(
    path: Path, bundle: Path, engine: str, precision: Any, frames: Sequence[Frame], turns: int
) -> tuple[dict[str, float], float, list[list[Result]]]:
    """Median milliseconds of each way and of the resize, and the results of both ways."""
    encoders = [
        Encoder.load(bundle, engine=engine, precision=precision, fused=fused) for fused in (False, True)
    ]
    staged, fused = (Detector.load(path, encoder=encoder) for encoder in encoders)
    encode = encoders[1].encode
    ways: dict[str, Callable[[Frame], Any]] = {"stages": staged, "graph": fused, "encoder": encode}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            for index in range(TURNS_OF):
                start = time.perf_counter()
                way(frames[(turn + index) % len(frames)])
                if turn and index:
                    times[name].append((time.perf_counter() - start) * 1e3)
    preprocess = statistics.median(fused(frame).timings_ms["preprocess"] for frame in frames)
    medians = {name: statistics.median(values) for name, values in times.items()}
    results = [[detector(frame) for frame in frames] for detector in (staged, fused)]
    for encoder in encoders:
        encoder.close()
    return medians, preprocess, results


def figures(
    medians: dict[str, float], preprocess: float, found: Sequence[Result], exact: Sequence[Result]
) -> list[str]:
    """The figures of one line."""
    graph, encode = medians["graph"], medians["encoder"] - preprocess
    distance = max(
        float(np.abs(a.patch_distances - b.patch_distances).max()) for a, b in zip(found, exact, strict=True)
    )
    errors = [100 * abs(a.score - b.score) / b.score for a, b in zip(found, exact, strict=True)]
    return [
        f"{medians['stages']:.0f}",
        f"{graph:.0f}",
        f"{medians['stages'] / graph:.2f}x",
        f"{1 - encode / graph:.0%}",
        f"{preprocess:.0f}",
        f"{distance:.1e}",
        f"{statistics.median(errors):.2g} / {max(errors):.2g}",
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--res", type=int, nargs="+", default=[224, 448], help="of the encoder, pixels")
    parser.add_argument("--rows", type=int, nargs="+", default=[8192, 32768], help="of the bank")
    parser.add_argument("--layer", type=int, default=12, help="block whose features are taken")
    parser.add_argument("--resize", choices=["bicubic-antialias", "area"], default=PAPERS_RESIZE)
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    rows = []
    for resolution in options.res:
        bundle = encoder_bundle(resolution, (options.layer,), fuse=True, resize=options.resize)
        for size in options.rows:
            frames = real_frames()
            exact: list[Result] = []
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "part.edgead"
                enroll(bundle, size, path)
                for engine, precision in WAYS:
                    if find_spec(engine) is None:
                        continue
                    try:
                        medians, preprocess, (staged, fused) = compare(
                            path, bundle, engine, precision, frames, options.turns
                        )
                    except EngineUnavailableError as error:  # a processor without bfloat16
                        print(error)
                        continue
                    exact = exact or staged
                    line = figures(medians, preprocess, fused, exact)
                    rows.append((resolution, size, f"{engine} {precision}", *line))
                    print(*rows[-1], flush=True)
    header = (
        "res",
        "bank",
        "engine",
        "stages ms",
        "graph ms",
        "ratio",
        "not the encoder",
        "resize ms",
        "distance error",
        "score error %",
    )
    save("frame", table(header, rows), {"rows": [dict(zip(header, one, strict=True)) for one in rows]})


if __name__ == "__main__":
    main()
