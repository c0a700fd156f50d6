"""One pipeline in a process of its own, so that thread pools and peak memory are nobody else's.

Started by :mod:`benchmarks.latency`. Reads lines ``N`` from standard input, inspects N frames and answers
each with one line of JSON: a list of per-frame stage times in milliseconds (for ``memory``: the peak in MB).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Stages = dict[str, float]
Pipeline = Callable[[int], Stages]


def edgead_pipeline(detector_path: str, frame_paths: Sequence[str]) -> Pipeline:
    """The runtime alone: neither torch nor onnx is imported in this process."""
    from edgead_runtime import Detector, read_picture

    frames = [read_picture(Path(path)).frame for path in frame_paths]
    detector = Detector.load(detector_path, any_size=True)

    def inspect(index: int) -> Stages:
        start = time.perf_counter()
        result = detector(frames[index % len(frames)])
        _ = result.map
        return {**result.timings_ms, "total": (time.perf_counter() - start) * 1e3}

    return inspect


def release_pipeline(resolution: str, layer: str, frame_paths: Sequence[str]) -> Pipeline:
    """The way of AnomalyDINO's release: torch eager fp32, Pillow, flat search, SciPy's Gaussian."""
    import numpy as np
    from edgead_export.backbones import get_backbone
    from edgead_export.weights.loading import build_model
    from edgead_export.weights.sources import load_weights
    from PIL import Image

    from tests.reference import anomalydino as paper

    spec = get_backbone("dinov2_s")
    model = build_model(
        spec, load_weights(spec, warn=lambda _: None, progress=False).state, "dinov2_s"
    ).eval()
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in frame_paths]

    def features(frame: paper.Frame) -> paper.Floats:
        return paper.tokens(model, paper.preprocess(frame, int(resolution)), int(layer))

    bank = np.concatenate([features(view) for view in paper.rotations(frames[0])])
    # The release normalizes the bank once, when it fills its index.
    bank = paper.normalise(bank, np.float32)

    def inspect(index: int) -> Stages:
        frame = frames[index % len(frames)]
        start = time.perf_counter()
        tensor = paper.preprocess(frame, int(resolution))
        prepared = time.perf_counter()
        tokens = paper.tokens(model, tensor, int(layer))
        encoded = time.perf_counter()
        distances = 1 - (paper.normalise(tokens, np.float32) @ bank.T).max(axis=1)
        searched = time.perf_counter()
        paper.image_score(distances)
        side = int(resolution) // 14
        paper.anomaly_map(distances.reshape(side, side), frame.shape[:2])
        end = time.perf_counter()
        return {
            "preprocess": (prepared - start) * 1e3,
            "encode": (encoded - prepared) * 1e3,
            "search": (searched - encoded) * 1e3,
            "map": (end - searched) * 1e3,
            "total": (end - start) * 1e3,
        }

    return inspect


def peak_memory_mb() -> float:
    """Largest resident size of this process; getrusage would count the parent's before the fork."""
    status = Path("/proc/self/status").read_text()
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main(arguments: Sequence[str]) -> None:
    """Serve requests until standard input ends."""
    kind, *rest = arguments
    pipeline = (
        edgead_pipeline(rest[0], rest[1:])
        if kind == "edgead"
        else release_pipeline(rest[0], rest[1], rest[2:])
    )
    for index in range(3):
        pipeline(index)
    print("ready", flush=True)
    for line in sys.stdin:
        request = line.strip()
        if request == "memory":
            print(json.dumps(peak_memory_mb()), flush=True)
        else:
            print(json.dumps([pipeline(index) for index in range(int(request))]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
