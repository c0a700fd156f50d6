"""Square matrix products: what the processor does at its best, as the floor under an encoder's time."""

from __future__ import annotations

import torch

from benchmarks.baselines.job import GEMM_REPEATS, GEMM_SIDE, Clock, Frame, Inspect, Inspected, Job


def make(job: Job, *, precision: str = "fp32") -> Inspect:
    """PyTorch's product (MKL, oneDNN)."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(GEMM_SIDE, GEMM_SIDE).to(kind) for _ in range(2))
    out = torch.empty(GEMM_SIDE, GEMM_SIDE, dtype=kind)

    def inspect(frame: Frame) -> Inspected:
        clock = Clock()
        for _ in range(GEMM_REPEATS):
            torch.mm(left, right, out=out)
        return Inspected(clock.stop(), 0.0)

    return inspect
