"""Several pictures in one run of the encoder, for bundles whose batch was left open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.device import open_device
from edgead_runtime.tensorrt.engine import TensorRtEngine

from benchmarks.gpu import engines
from benchmarks.gpu.device_runs import EVENTS, fed_with, open_others, plain_of, residents_of
from benchmarks.gpu.feeds import feeds_of
from benchmarks.gpu.job import Job, working_copy
from benchmarks.gpu.turns import Way, left_out_rows, open_all, rows_of, take_turns, try_each

ONE_AT_A_TIME = (
    "The bundle was exported for one picture at a time, so there is nothing to measure here. "
    "`edgead export ... --dynamic-batch` leaves the batch open."
)


def measure(job: Job) -> list[dict[str, Any]]:
    """Rows of every batch: the computing of a whole batch, and pictures a second.

    The engines are built anew for 1 to the largest batch, and are fastest at half of that: TensorRT chooses
    its kernels for one size.
    """
    batched = replace(job, folder=working_copy(job.bundle, job.scratch / "batched"))
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        left_out: dict[Way, str] = {}
        built = open_all(_tensorrt_ways(batched), stack, left_out)
        residents = {**residents_of(built), **open_others(job, "encoder", stack, left_out)}
        rows += left_out_rows(left_out)
        for batch in job.batches:
            print(f"timing batches of {batch}", flush=True)
            failed: dict[Way, str] = {}
            runs = try_each(fed_with(residents, feeds_of(job, "encoder", batch)), failed)
            taken = take_turns(runs, job.amount)
            found = rows_of(taken, plain_of(job, "encoder"))
            for row in found:
                row["pictures_per_s"] = 1e3 * batch / row["p50_ms"]
            rows += [{"batch": batch, **row} for row in found + left_out_rows({**failed, **taken.left_out})]
    return rows


def _tensorrt_ways(job: Job) -> dict[Way, Callable[[], TensorRtEngine]]:
    return {
        Way(job.flavour, precision, "encoder", EVENTS): partial(_built, job, precision)
        for precision in job.precisions
    }


def _built(job: Job, precision: Any) -> TensorRtEngine:
    open_device()  # without a GPU that is the reason, and not what the options lack
    most = max(job.batches)
    options = engines.options_of(job, (1, max(1, most // 2), most))
    print(f"building the encoder in {precision} for batches up to {most}", flush=True)
    build_engine(job.folder, job.flavour, options, graph="encoder", precision=precision)
    return engines.open_of(job, "encoder", precision)
