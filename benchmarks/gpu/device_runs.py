"""One run of a graph on the GPU: how long the GPU takes, with what the host does left out.

``computing``: every input lies on the GPU and nothing comes back. ``with copies``: the picture goes up, and
what a detector asks for comes down. TensorRT and PyTorch are timed by CUDA's events; ONNX Runtime has a
stream of its own and is timed by the host's clock until the device is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from edgead_runtime import EncoderBundle
from edgead_runtime.engines import Array
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.record import GraphName

from benchmarks.gpu import engines
from benchmarks.gpu.feeds import feeds_of, outputs_of, picture_input
from benchmarks.gpu.job import Job
from benchmarks.gpu.provider import CPU, CUDA, TENSORRT, TITLES, ProviderSession, tensorrt_options
from benchmarks.gpu.sdpa import PRECISION, open_torch
from benchmarks.gpu.turns import Run, Way, left_out_rows, open_all, rows_of, take_turns, try_each

EVENTS = "cuda events"
GRAPHS = {"encoder": "encoder", "frame": "frame graph"}
Feeds = Mapping[str, Array]
Resident = Callable[[Feeds], Run]
"""Puts inputs where it runs, and gives runs whose inputs and outputs stay there."""


def tensorrt_ways(job: Job, graph: GraphName) -> dict[Way, Callable[[], TensorRtEngine]]:
    """The engines of a graph that were asked for."""
    return {
        Way(job.flavour, precision, GRAPHS[graph], EVENTS): partial(engines.open_of, job, graph, precision)
        for built, precision in engines.graphs_of(job)
        if built == graph
    }


def provider_ways(job: Job, graph: GraphName) -> dict[Way, Callable[[], ProviderSession]]:
    """ONNX Runtime on CUDA and on TensorRT, or on the processor where there is no GPU."""
    title = GRAPHS[graph]
    ways: dict[Way, Callable[[], ProviderSession]] = {}
    for precision in dict.fromkeys(("fp32", *job.precisions)):
        if graph == "frame" and job.manifest.frame_of(precision) is None:
            continue
        model = partial(_model, job.bundle, graph, precision)
        provider = CPU if job.here is None else CUDA
        ways[Way(TITLES[provider], precision, title)] = partial(_session, model, provider)
    for precision in tensorrt_precisions(job):
        ways[Way(TITLES[TENSORRT], precision, title)] = partial(
            _session,
            partial(_model, job.bundle, graph, "fp32"),
            TENSORRT,
            tensorrt_options(job.scratch, precision),
        )
    return ways


def tensorrt_precisions(job: Job) -> list[Precision]:
    """Those that ONNX Runtime's TensorRT provider is asked for: of int8 it wants tables of its own."""
    return [precision for precision in job.precisions if precision in ("fp32", "fp16")]


def torch_way(job: Job) -> Way:
    """PyTorch."""
    clock = EVENTS if job.device == "cuda" else "host"
    return Way("PyTorch with SDPA", PRECISION[job.device], "encoder", clock)


def plain_of(job: Job, graph: str) -> Way:
    """What the others are compared with: ONNX Runtime on CUDA in fp32, as it comes."""
    return Way(TITLES[CPU if job.here is None else CUDA], "fp32", graph)


def measure(job: Job) -> list[dict[str, Any]]:
    """Rows of both graphs, each compared with ONNX Runtime on CUDA in fp32."""
    rows: list[dict[str, Any]] = []
    for graph in dict.fromkeys(graph for graph, _ in engines.graphs_of(job)):
        with ExitStack() as stack:
            left_out: dict[Way, str] = {}
            built = open_all(tensorrt_ways(job, graph), stack, left_out)
            residents = {**residents_of(built), **open_others(job, graph, stack, left_out)}
            feeds, picture = feeds_of(job, graph), picture_input(job, graph)
            rows += _rows(job, graph, "computing", fed_with(residents, feeds), left_out)
            copying: dict[Way, Callable[[], Run]] = {
                way: partial(_with_copies, engine, feeds, picture, outputs_of(job, graph))
                for way, engine in built.items()
            }
            if copying:
                rows += _rows(job, graph, "with copies", copying, {})
    return rows


def residents_of(built: Mapping[Way, TensorRtEngine]) -> dict[Way, Resident]:
    """TensorRT's engines by CUDA's events."""
    return {way: partial(_computing, engine) for way, engine in built.items()}


def open_others(
    job: Job, graph: GraphName, stack: ExitStack, left_out: dict[Way, str]
) -> dict[Way, Resident]:
    """ONNX Runtime's providers and PyTorch, which has no frame graph."""
    sessions = open_all(provider_ways(job, graph), stack, left_out)
    outputs = outputs_of(job, graph)
    others: dict[Way, Resident] = {
        way: partial(session.resident, outputs=outputs) for way, session in sessions.items()
    }
    if graph == "encoder":
        opening = partial(open_torch, job.bundle, job.device, job.weights)
        torch = open_all({torch_way(job): opening}, stack, left_out)
        others |= {way: encoder.resident for way, encoder in torch.items()}
    return others


def fed_with(residents: Mapping[Way, Resident], feeds: Feeds) -> dict[Way, Callable[[], Run]]:
    """What puts the inputs where each way runs."""
    return {way: partial(resident, feeds) for way, resident in residents.items()}


def _rows(
    job: Job, graph: GraphName, what: str, prepare: Mapping[Way, Callable[[], Run]], left_out: dict[Way, str]
) -> list[dict[str, Any]]:
    # Where there is no room for a way's inputs, it is left out.
    taken = take_turns(try_each(prepare, left_out), job.amount)
    rows = rows_of(taken, plain_of(job, GRAPHS[graph])) + left_out_rows({**left_out, **taken.left_out})
    return [{"what": what, **row} for row in rows]


def _computing(engine: TensorRtEngine, feeds: Feeds) -> Run:
    uploaded = {name: engine.upload(array) for name, array in feeds.items()}
    return lambda: engine.time_run(uploaded)


def _with_copies(engine: TensorRtEngine, feeds: Feeds, picture: str, outputs: list[str]) -> Run:
    rest = {name: engine.upload(array) for name, array in feeds.items() if name != picture}
    return lambda: engine.time_run({**rest, picture: feeds[picture]}, outputs)


def _model(bundle: EncoderBundle, graph: GraphName, precision: Precision) -> bytes:
    return bundle.read_frame_graph(precision) if graph == "frame" else bundle.read_model(precision)


def _session(
    model: Callable[[], bytes], provider: str, options: dict[str, str] | None = None
) -> ProviderSession:
    return ProviderSession(model(), provider, options)
