"""What an encoder's time could be at best: its operations at the speed of a large matrix product."""

from __future__ import annotations

import statistics

from benchmarks.baselines.job import GEMM_GFLOP, PATCH
from benchmarks.baselines.ways import WAYS
from benchmarks.common import table
from benchmarks.interleaved import Taken

_DIM = 384
_BLOCKS = 12
FLOOR_OF = {"fp32": "gemm", "bf16": "gemm-bf16"}


def encoder_gflop(resolution: int) -> float:
    """Operations of ViT-S/14 on a square input: linear layers, attention and patch embedding."""
    patches = (resolution // PATCH) ** 2
    tokens = patches + 1
    linear = _BLOCKS * tokens * 24 * _DIM**2
    attention = _BLOCKS * 4 * tokens**2 * _DIM
    embedding = 2 * patches * 3 * PATCH**2 * _DIM
    return (linear + attention + embedding) / 1e9


def gflops(taken: Taken, precision: str) -> float | None:
    """Measured speed of a matrix product, thousand million operations a second; the median of the run."""
    times = taken.times.get(FLOOR_OF[precision])
    return GEMM_GFLOP / (statistics.median(frame["total"] for frame in times) / 1e3) if times else None


def floors_table(taken: Taken) -> str:
    """Every encoder's time over its floor."""
    work = encoder_gflop(taken.job.resolution)
    rows: list[list[object]] = []
    for name, times in taken.times.items():
        # anomalib's graph has the search in it, and so no time of its encoder alone.
        if name not in WAYS or "encode" not in times[0]:
            continue
        speed = gflops(taken, WAYS[name].precision)
        if speed is None:
            continue
        floor = work / speed * 1e3
        encode = statistics.median(frame["encode"] for frame in times)
        rows.append(
            [
                WAYS[name].title,
                WAYS[name].precision,
                f"{speed:.0f}",
                f"{floor:.0f}",
                f"{encode:.0f}",
                f"{encode / floor:.2f}",
            ]
        )
    header = ["encoder of", "precision", "matrix product, GFLOP/s", "floor ms", "encode ms", "over the floor"]
    return table(header, rows)
