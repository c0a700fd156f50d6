"""Where an encoder's time goes in OpenVINO, by kind of node, as OpenVINO itself counts it.

    python -m benchmarks.encoder_profile --precision bf16

A photograph through ViT-S/14 at 448, all twelve blocks, in turns with a large matrix product. Attention is
what OpenVINO fuses into subgraphs; linear layers are its FullyConnected nodes.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter

import numpy as np
import openvino as ov
from edgead_runtime import EncoderBundle
from edgead_runtime.preprocess import Preprocessor
from openvino.properties import hint

from benchmarks.baselines import gemm
from benchmarks.baselines.job import GEMM_GFLOP, Job
from benchmarks.common import encoder_bundle, real_frames, save, table
from benchmarks.floors import encoder_gflop
from benchmarks.undisturbed import least_disturbed
from benchmarks.work import ALL_BLOCKS

_PRECISIONS = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}


def profile(resolution: int, precision: str, turns: int) -> tuple[dict[str, float], float, float]:
    """Milliseconds by kind of node, of a whole encode, and of the large product."""
    folder = encoder_bundle(resolution, (ALL_BLOCKS,), fuse=True)
    manifest = EncoderBundle.open(folder).manifest
    preprocess = Preprocessor(manifest.input, manifest.preprocess, manifest.patch_size)
    tensor = preprocess(real_frames(1024, 1)[0])[None]
    settings = {hint.inference_precision: _PRECISIONS[precision], "PERF_COUNT": True}
    request = ov.Core().compile_model(folder / "encoder.onnx", "CPU", settings).create_infer_request()
    product = gemm.make(Job(0, ()), precision=precision)
    empty = np.zeros((1, 1, 3), np.uint8)

    def turn() -> tuple[Counter[str], float, float]:
        request.infer([tensor])
        kinds: Counter[str] = Counter()
        for node in request.profiling_info:
            if node.status == node.Status.EXECUTED:
                kinds[node.node_type] += node.real_time.total_seconds() * 1e3
        floor = product(empty).stages_ms["total"]
        return kinds, request.latency, floor

    for _ in range(3):
        turn()
    taken = [least_disturbed(turn)[1] for _ in range(turns)]
    kinds = {kind for each, _, _ in taken for kind in each}
    medians = {kind: statistics.median(each[kind] for each, _, _ in taken) for kind in kinds}
    return medians, statistics.median(ms for _, ms, _ in taken), statistics.median(ms for _, _, ms in taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--res", type=int, default=448)
    parser.add_argument("--precision", choices=list(_PRECISIONS), default="bf16")
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    kinds, whole, product = profile(options.res, options.precision, options.turns)
    speed = GEMM_GFLOP / product * 1e3
    shares = sorted(kinds.items(), key=lambda each: -each[1])
    rows = [[kind, f"{ms:.1f}", f"{ms / whole:.0%}"] for kind, ms in shares if ms >= 0.5]
    text = (
        f"{options.precision}, {options.res} px: {whole:.0f} ms an encode of "
        f"{encoder_gflop(options.res):.1f} GFLOP; a large product makes {speed:.0f} GFLOP/s.\n\n"
        + table(["node", "ms", "share"], rows)
    )
    save(f"encoder_profile_{options.precision}", text, {"kinds_ms": kinds, "encode_ms": whole})


if __name__ == "__main__":
    main()
