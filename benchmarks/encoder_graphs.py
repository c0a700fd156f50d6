"""Ways to write the encoder's graph, in ONNX Runtime and OpenVINO, beside the present export and the floor.

    python -m benchmarks.encoder_graphs --resolution 448 --turns 30
    python -m benchmarks.encoder_graphs --variants folded qkv --turns 10
    python -m benchmarks.encoder_graphs --settings          # ONNX Runtime's session options instead

All in one process, one run a turn, in an order that rotates; ratios of medians with a bootstrap interval over
the turns. Agreement is with torch on a real photograph: the largest difference of a feature over the largest
feature.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from edgead_export.backbones import get_backbone
from edgead_export.encoder_module import PatchEncoder
from edgead_export.tracing import INPUT_NAME, trace
from edgead_export.weights.loading import build_model
from edgead_export.weights.sources import load_weights
from edgead_runtime.cores import usable_cores
from edgead_runtime.engines import EngineOptions, create_engine
from numpy.typing import NDArray

from benchmarks.baselines import gemm
from benchmarks.baselines.job import GEMM_GFLOP, Job
from benchmarks.common import encoder_bundle, machine, real_frames, save, table
from benchmarks.floors import encoder_gflop
from benchmarks.graph_variants import VARIANTS
from benchmarks.undisturbed import least_disturbed
from edgead.jobs.bench.statistics import paired_ratio

Run = Callable[[], object]
_PRESENT = "present"
_FLOOR = "floor"
_REST_S = 0.02
"""Between runs, so that the threads of the one before are asleep."""
_AFFINITY = "session.intra_op_thread_affinities"
SETTINGS: dict[str, dict[str, str]] = {
    "as edgead does": {"session.intra_op.allow_spinning": "0"},
    "threads spin": {"session.intra_op.allow_spinning": "1"},
    "denormals are zero": {"session.intra_op.allow_spinning": "0", "session.set_denormal_as_zero": "1"},
    "dynamic blocks of work": {
        "session.intra_op.allow_spinning": "0",
        "session.dynamic_block_base": "4",
    },
    "threads bound to cores": {"session.intra_op.allow_spinning": "0", _AFFINITY: ""},
}


def load_encoder(resolution: int, blocks: int) -> PatchEncoder:
    """ViT-S/14 as ``edgead export`` builds it, with that many blocks."""
    spec = get_backbone("dinov2_s")
    weights = load_weights(spec, warn=lambda _: None, progress=False)
    return PatchEncoder(
        build_model(spec, weights.state, weights.record.source),
        spec,
        size=(resolution, resolution),
        layers=(blocks,),
        normalized=weights.normalized_layers(spec, (blocks,)),
        attention=False,
        position_rule=weights.position_rule,
    ).eval()


def photograph(resolution: int) -> NDArray[np.float32]:
    """An input tensor made from a real picture."""
    from edgead_runtime.encoder_bundle import EncoderBundle
    from edgead_runtime.preprocess import Preprocessor

    manifest = EncoderBundle.open(encoder_bundle(resolution)).manifest
    preprocess = Preprocessor(manifest.input, manifest.preprocess, manifest.patch_size)
    return np.asarray(preprocess(real_frames(1024, 1)[0])[None], dtype=np.float32)


def take_turns(runs: Mapping[str, Run], turns: int) -> dict[str, list[float]]:
    """Milliseconds of every run, in turns; two turns warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for turn in range(-2, turns):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            time.sleep(_REST_S)
            _, taken = least_disturbed(lambda run=runs[name]: _milliseconds(run))
            if turn >= 0:
                times[name].append(taken)
    return times


def _milliseconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def _floor() -> Run:
    inspect = gemm.make(Job(0, ()))
    empty = np.zeros((1, 1, 3), np.uint8)
    return lambda: inspect(empty)


def compare(resolution: int, blocks: int, names: Sequence[str], turns: int) -> tuple[str, dict[str, Any]]:
    """The table of variants, and its data."""
    encoder = load_encoder(resolution, blocks)
    size = resolution, resolution
    image = photograph(resolution)
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(image))[0].numpy()
    present = trace(encoder, size, opset=17, dynamic_batch=False)
    graphs: dict[str, onnx.ModelProto] = {_PRESENT: present}
    problems: dict[str, str] = {}
    for name in names:
        print(f"making {name}", flush=True)
        try:
            graphs[name] = VARIANTS[name].make(encoder, size, present)
        except Exception as error:  # noqa: BLE001  (a tool that gives up is a result)
            problems[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
    runs: dict[str, Run] = {_FLOOR: _floor()}
    errors: dict[str, float] = {}
    for engine in ("onnxruntime", "openvino"):
        for name, graph in graphs.items():
            if engine != "onnxruntime" and name in VARIANTS and VARIANTS[name].onnxruntime_only:
                continue
            key = f"{engine} {name}"
            try:
                loaded = create_engine(graph.SerializeToString(), engine, EngineOptions())
                found = loaded.run({INPUT_NAME: image})[encoder.output_names[0]]
            except Exception as error:  # noqa: BLE001
                problems[key] = str(error).splitlines()[0]
                continue
            errors[key] = float(np.abs(found - expected).max() / np.abs(expected).max())
            runs[key] = lambda loaded=loaded: loaded.run({INPUT_NAME: image})  # type: ignore[misc]
    times = take_turns(runs, turns)
    speed = GEMM_GFLOP / (statistics.median(times[_FLOOR]) / 1e3)
    floor_ms = encoder_gflop(resolution) * blocks / 12 / speed * 1e3
    rows: list[list[object]] = []
    for key, error in errors.items():
        engine, _, name = key.partition(" ")
        ratio = paired_ratio(times[key], times[f"{engine} {_PRESENT}"])
        rows.append(
            [
                engine,
                VARIANTS[name].title if name in VARIANTS else "**as exported**",
                len(graphs[name].graph.node),
                f"{statistics.median(times[key]):.0f}",
                f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
                f"{statistics.median(times[key]) / floor_ms:.2f}",
                f"{error:.1e}",
            ]
        )
    header = ["engine", "graph", "nodes", "ms", "times the present one", "over the floor", "off torch by"]
    notes = [f"{name}: {problem}" for name, problem in problems.items()]
    text = "\n\n".join([table(header, rows), *notes])
    return text, {"times_ms": times, "errors": errors, "floor_ms": floor_ms, "problems": problems}


def compare_settings(resolution: int, blocks: int, turns: int) -> tuple[str, dict[str, Any]]:
    """The table of ONNX Runtime's session options, and its data."""
    import onnxruntime as ort

    graph = trace(load_encoder(resolution, blocks), (resolution,) * 2, opset=17, dynamic_batch=False)
    image = photograph(resolution)
    runs: dict[str, Run] = {}
    for name, entries in SETTINGS.items():
        options = ort.SessionOptions()
        cores = usable_cores()
        options.intra_op_num_threads = cores
        for key, value in entries.items():
            if key != _AFFINITY:
                options.add_session_config_entry(key, value)
            elif cores > 1:
                # Of all threads but the caller's; cores are counted from 1.
                options.add_session_config_entry(key, ";".join(map(str, range(2, cores + 1))))
        session = ort.InferenceSession(
            graph.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        runs[name] = lambda session=session: session.run(None, {INPUT_NAME: image})  # type: ignore[misc]
    times = take_turns(runs, turns)
    first = next(iter(runs))
    rows: list[list[object]] = []
    for name, taken in times.items():
        ratio = paired_ratio(taken, times[first])
        rows.append(
            [
                name,
                f"{statistics.median(taken):.0f}",
                f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
            ]
        )
    return table(["ONNX Runtime session", "ms", "times the first"], rows), {"times_ms": times}


def report(resolution: int, blocks: int, turns: int, names: Sequence[str] = tuple(VARIANTS)) -> str:
    """Measure the graphs; the text with its table."""
    table_text, data = compare(resolution, blocks, names, turns)
    text = f"{_where(resolution, blocks, turns)}\n\n{table_text}"
    save("encoder_graphs", text, data)
    return text


def report_settings(resolution: int, blocks: int, turns: int) -> str:
    """Measure the session options; the text with its table."""
    table_text, data = compare_settings(resolution, blocks, turns)
    text = f"{_where(resolution, blocks, turns)}\n\n{table_text}"
    save("encoder_settings", text, data)
    return text


def _where(resolution: int, blocks: int, turns: int) -> str:
    facts = machine()
    return (
        f"ViT-S/14, {blocks} blocks at {resolution}, fp32, medians of {turns} turns on "
        f"{facts['cores']} cores of {facts['cpu']}."
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resolution", type=int, default=448)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--settings", action="store_true", help="compare session options instead of graphs")
    options = parser.parse_args()
    if options.settings:
        report_settings(options.resolution, options.blocks, options.turns)
    else:
        report(options.resolution, options.blocks, options.turns, options.variants)


if __name__ == "__main__":
    main()
