"""Every engine that a bundle has files for: built, judged, and what it takes."""

from __future__ import annotations

from typing import Any

import msgspec
from edgead_runtime import EncoderBundle
from edgead_runtime.engines import EngineOptions
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.device import open_device
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.opening import open_engine
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.record import GraphName

from benchmarks.gpu.feeds import feeds_of
from benchmarks.gpu.job import Job
from benchmarks.gpu.turns import reason

_USUAL_BLOCKS = 16


def graphs_of(job: Job) -> list[tuple[GraphName, Precision]]:
    """What there is to build: the manifest's files, the encoder's before the frame graph's."""
    wanted: list[tuple[GraphName, Precision]] = [("encoder", precision) for precision in job.precisions]
    return wanted + [("frame", precision) for precision in job.precisions if job.manifest.frame_of(precision)]


def options_of(job: Job, batch: tuple[int, int, int] = (1, 1, 1)) -> BuildOptions:
    """How an engine is built: for the largest of the banks, and for the GPU that is here."""
    most = job.blocks_of(max(job.good))
    return BuildOptions(
        bank_blocks=(min(_USUAL_BLOCKS, most), most),
        batch=batch,
        sm=(job.here.sm,) if job.flavour == "tensorrt-rtx" and job.here is not None else (),
    )


def build_all(job: Job) -> list[dict[str, Any]]:
    """Build each; its record and memory, or why there is none. One that fails its gate is not used."""
    found = []
    for graph, precision in graphs_of(job):
        entry: dict[str, Any] = {"graph": graph, "precision": precision}
        print(f"building the {graph} graph in {precision}", flush=True)
        try:
            built = build_engine(job.folder, job.flavour, options_of(job), graph=graph, precision=precision)
            entry["record"] = msgspec.to_builtins(built.record)
            entry["memory_mb"] = memory_mb(job, graph, precision)
        except Exception as error:  # noqa: BLE001  (TensorRT's own; the other engines are built all the same)
            entry["refused"] = reason(error)
            print(f"  {error}", flush=True)
        found.append(entry)
    return found


def open_of(job: Job, graph: GraphName, precision: Precision) -> TensorRtEngine:
    """The engine that was built for a graph.

    Raises:
        EngineUnavailableError: None was, or there is no GPU.
    """
    bundle = EncoderBundle.open(job.folder)
    model = bundle.read_frame_graph(precision) if graph == "frame" else bundle.read_model(precision)
    return open_engine(model, EngineOptions(device="cuda", bundle=str(job.folder)), job.flavour)


def memory_mb(job: Job, graph: GraphName, precision: Precision) -> float:
    """What the GPU has less of once an engine is loaded and has run, with the smallest bank.

    Opened twice: the first time CUDA loads what all engines share.
    """
    device = open_device()
    taken = 0
    for _ in range(2):
        before = device.free_bytes()
        with open_of(job, graph, precision) as engine:
            engine.run(feeds_of(job, graph))
            taken = before - device.free_bytes()
    return taken / 1e6
