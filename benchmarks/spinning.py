"""What a product on the host costs the encode that follows it: a BLAS's threads spin on the encoder's cores.

    python -m benchmarks.spinning --turns 15

A map of 1024 x 1024 from 32 x 32 distances, by NumPy, and then one encode of ViT-S/14 at 448; three ways in
turns. Twice, in processes of their own: OpenBLAS as it comes, and told to rest as edgead tells it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from edgead_runtime._requirements import OPENBLAS_REST

AS_IT_COMES, RESTING = "26", "4"
_MAP = (1024, 32)


def measure(engine: str, precision: str, turns: int) -> dict[str, list[float]]:
    """Milliseconds of the encode after each way, a list entry a turn."""
    import numpy as np
    from edgead_runtime import Encoder
    from edgead_runtime.blas_threads import one_blas_thread

    from benchmarks.common import encoder_bundle, real_frames

    random = np.random.default_rng(0)
    down, across = (random.random(_MAP, dtype=np.float32) for _ in range(2))
    frame = real_frames(448, 1)[0]
    ways: dict[str, Callable[[], AbstractContextManager[None]] | None] = {
        "nothing": None,
        "a product on one thread": one_blas_thread,
        "a product on all threads": contextlib.nullcontext,
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    with Encoder.load(encoder_bundle(448, (12,)), engine=engine, precision=precision) as encoder:
        for turn in range(turns + 1):
            for way, threads in ways.items():
                for repeat in range(3):
                    if threads is not None:
                        with threads():
                            _ = (down @ down[:32]) @ across.T
                    start = time.perf_counter()
                    encoder.encode(frame)
                    if turn and repeat:  # the first of each follows another way
                        times[way].append((time.perf_counter() - start) * 1e3)
    return times


def _in_a_process(rest: str, options: argparse.Namespace) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.spinning", "--worker", "--turns", str(options.turns)]
    command += ["--engine", options.engine, "--precision", options.precision]
    done = subprocess.run(
        command,
        env={**os.environ, OPENBLAS_REST: rest},
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.engine, options.precision, options.turns)))
        return
    from benchmarks.common import save, table
    from edgead.jobs.bench.statistics import paired_ratio

    rows: list[list[object]] = []
    measured = {rest: _in_a_process(rest, options) for rest in (AS_IT_COMES, RESTING)}
    for rest, times in measured.items():
        for way, taken in times.items():
            ratio = paired_ratio(taken, times["nothing"])
            title = "as it comes" if rest == AS_IT_COMES else f"{OPENBLAS_REST}={rest}"
            rows.append([title, way, f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"])
    text = table(["OpenBLAS", "before the encode", "the encode, times that after nothing"], rows)
    save("spinning", text, {"times_ms": measured})


if __name__ == "__main__":
    main()
