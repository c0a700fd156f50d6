"""For whoever has an NVIDIA GPU: build the engines of an encoder, judge them, and time whole frames.

    edgead export --backbone dinov2_s --res 448 --fuse --out dinov2_s_448    (on any machine)
    python -m benchmarks.gpu dinov2_s_448 --blocks 8 32                      (on the one with the GPU)

Needs the runtime alone (and a checkout, for this file). A 1024 x 1024 picture in memory to its score, host
to host, every way a few frames in turn; `error` is the worst score's difference to ONNX Runtime on the
processor, in per cent. Writes benchmarks/out/gpu.json and gpu.md. It has been run on a simulated GPU (in the
tests), and on none that is real: a way that is not there is left out with the reason.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from edgead_runtime import Detector, Encoder, EncoderBundle, get_recipe
from edgead_runtime.doctor.findings import judge
from edgead_runtime.doctor.machine import examine
from edgead_runtime.doctor.report import as_json
from edgead_runtime.errors import EdgeadError
from edgead_runtime.images import Frame
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.parity import gate_pictures

from benchmarks.common import save, table

WAYS: dict[str, dict[str, Any]] = {
    "tensorrt, frame graph": {"engine": "tensorrt"},
    "tensorrt, stages": {"engine": "tensorrt", "fused": False},
    "onnxruntime on cuda, frame graph": {"engine": "onnxruntime", "device": "cuda"},
    "onnxruntime on cpu, stages": {"engine": "onnxruntime", "device": "cpu", "fused": False},
}
REFERENCE = "onnxruntime on cpu, stages"
TURN = 5
"""Frames of one way at a time; the first two are not counted: shapes are new, and a graph is captured."""
UNCOUNTED = 2
SIDE = 1024


def frames_of(count: int) -> list[Frame]:
    """Different crops of the runtime's own pictures, ``[1024, 1024, 3]`` uint8."""
    pictures = [picture.frame for picture in gate_pictures()]
    frames = []
    for index in range(count):
        shift = 3 * (index // len(pictures)) % 128
        cropped = pictures[index % len(pictures)][shift:, shift:]
        frames.append(np.asarray(cv2.resize(cropped, (SIDE, SIDE)), dtype=np.uint8))
    return frames


def build_all(bundle: Path, most_blocks: int) -> list[dict[str, Any]]:
    """Both graphs' engines, with their records; a refused one with its reason."""
    graphs = ["encoder"] + (["frame"] if EncoderBundle.open(bundle).manifest.frame is not None else [])
    built = []
    for graph in graphs:
        try:
            options = BuildOptions(bank_blocks=(min(16, most_blocks), most_blocks))
            engine = build_engine(bundle, "tensorrt", options, graph=msgspec.convert(graph, Any))
            built.append({"graph": graph, "record": msgspec.to_builtins(engine.record)})
            print(*engine.lines(), sep="\n", flush=True)
        except EdgeadError as error:
            built.append({"graph": graph, "refused": str(error)})
            print(f"{graph}: {error}", flush=True)
    return built


def compare(bundle: Path, blocks: int, frames: Sequence[Frame], turns: int) -> list[dict[str, Any]]:
    """Every way's percentiles and worst error, for a bank of so many blocks."""
    recipe = get_recipe("anomalydino-informed").with_(mask="off")
    good = frames_of(len(frames) + blocks)[len(frames) :]
    detectors: dict[str, Detector] = {}
    rows: list[dict[str, Any]] = []
    try:
        for name, options in WAYS.items():
            try:
                encoder = Encoder.load(bundle, **options)
                detectors[name] = Detector.enroll(encoder, good, recipe=recipe, threshold=1.0)
            except EdgeadError as error:
                rows.append({"way": name, "blocks": blocks, "left_out": error.problem})
                print(f"{name}: {error}", flush=True)
        times: dict[str, list[float]] = {name: [] for name in detectors}
        for turn in range(turns):
            for name, detector in detectors.items():
                for index in range(TURN + UNCOUNTED):
                    start = time.perf_counter()
                    detector(frames[(turn + index) % len(frames)])
                    if index >= UNCOUNTED:
                        times[name].append((time.perf_counter() - start) * 1e3)
        exact = [detectors[REFERENCE](frame).score for frame in frames]
        for name, detector in detectors.items():
            scores = [detector(frame).score for frame in frames]
            errors = [abs(one - other) / other for one, other in zip(scores, exact, strict=True)]
            p50, p95, p99 = np.percentile(times[name], (50, 95, 99))
            rows.append(
                {
                    "way": name,
                    "blocks": blocks,
                    "p50_ms": p50,
                    "p95_ms": p95,
                    "p99_ms": p99,
                    "error": max(errors),
                }
            )
    finally:
        for detector in detectors.values():
            detector.encoder.close()
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, measure, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", type=Path, help="an encoder bundle's folder")
    parser.add_argument("--blocks", type=int, nargs="+", default=[8, 32], help="of the bank: good pictures")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--frames", type=int, default=8, help="different ones")
    chosen = parser.parse_args(arguments)
    facts = examine()
    built = build_all(chosen.encoder, max(*chosen.blocks, 16))
    frames = frames_of(chosen.frames)
    rows = [row for blocks in chosen.blocks for row in compare(chosen.encoder, blocks, frames, chosen.turns)]
    lines = [
        (
            row["blocks"],
            row["way"],
            *(
                [f"{row[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")] + [f"{row['error']:.2%}"]
                if "p50_ms" in row
                else ["-", "-", "-", row["left_out"]]
            ),
        )
        for row in rows
    ]
    header = ("good pictures", "way", "p50 ms", "p95", "p99", "error")
    save(
        "gpu", table(header, lines), {"doctor": as_json(facts, judge(facts)), "engines": built, "rows": rows}
    )


if __name__ == "__main__":
    main()
