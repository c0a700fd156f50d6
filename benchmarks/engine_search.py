"""Searching in the encoder's engine beside searching in NumPy: whole frames by the stages, in turns.

    python -m benchmarks.engine_search --encoder BUNDLE --references 1 4 --turns 5

A 1024 x 1024 picture in memory to its score, no mask, eight views a reference; for the nearest patch and for
the mean of three. Ratios are of medians, NumPy over engine: above 1 the engine is faster. ``error`` is the
largest difference of a patch's distance.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.index import EXACT, IN_ENGINE

from benchmarks.common import encoder_bundle, real_frames, save, table

_UNCOUNTED = 1


def compare(encoder: Encoder, references: int, neighbours: int, turns: int) -> dict[str, Any]:
    """Medians of both ways, and how far apart their distances are."""
    frames = real_frames(1024, references + 2)
    recipe = get_recipe("anomalydino").with_(mask="off", neighbours=neighbours)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.edgead"
        Detector.enroll(encoder, frames[:references], recipe=recipe, threshold=1.0).save(path)
        ways = {way: Detector.load(path, encoder=encoder, index=way) for way in (EXACT, IN_ENGINE)}
    times: dict[str, list[float]] = {way: [] for way in ways}
    error = 0.0
    for turn in range(turns + _UNCOUNTED):
        for frame in frames[references:]:
            found = {}
            for way, detector in ways.items():
                start = time.perf_counter()
                found[way] = detector(frame)
                if turn >= _UNCOUNTED:
                    times[way].append((time.perf_counter() - start) * 1e3)
            gaps = np.abs(found[EXACT].patch_distances - found[IN_ENGINE].patch_distances)
            error = max(error, float(gaps.max()))
    medians = {way: statistics.median(each) for way, each in times.items()}
    return {
        "engine": encoder.engine_name,
        "rows": ways[EXACT].rows,
        "neighbours": neighbours,
        "numpy_ms": medians[EXACT],
        "engine_ms": medians[IN_ENGINE],
        "ratio": medians[EXACT] / medians[IN_ENGINE],
        "error": error,
    }


def main() -> None:
    """Measure, print a table, write benchmarks/out/engine_search.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--engines", nargs="+", default=["onnxruntime", "openvino"])
    parser.add_argument("--references", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--turns", type=int, default=5)
    chosen = parser.parse_args()
    bundle = chosen.encoder or encoder_bundle(448)
    rows = []
    for engine in chosen.engines:
        with Encoder.load(bundle, engine=engine, fused=False) as encoder:
            for references in chosen.references:
                for neighbours in chosen.neighbours:
                    rows.append(compare(encoder, references, neighbours, chosen.turns))
    text = table(
        ["engine", "rows", "k", "NumPy", "in the engine", "ratio", "error"],
        [
            [
                row["engine"],
                f"{row['rows']:,}",
                row["neighbours"],
                f"{row['numpy_ms']:.0f} ms",
                f"{row['engine_ms']:.0f} ms",
                f"{row['ratio']:.2f}",
                f"{row['error']:.1e}",
            ]
            for row in rows
        ],
    )
    save("engine_search", text, {"rows": rows})


if __name__ == "__main__":
    main()
