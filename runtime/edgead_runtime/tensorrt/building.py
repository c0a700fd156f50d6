"""Engines for an encoder bundle: one call for the command line of either distribution."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

import msgspec

from edgead_runtime.cache import cache_dir
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import EngineBuildError, OutputError
from edgead_runtime.files import sha256_bytes, write_atomic
from edgead_runtime.index.in_engine import ROWS_AT_ONCE, search_graph
from edgead_runtime.manifest import EncoderManifest, Precision
from edgead_runtime.tensorrt.api import FLAVOURS, Flavour, FlavourName, TensorRT, TensorRTForRTX, load
from edgead_runtime.tensorrt.builder import Plan, build_plan, check_options, check_targets
from edgead_runtime.tensorrt.capability import check_capability
from edgead_runtime.tensorrt.device import DeviceFacts, open_device
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.failures import forget_failure, remember_failure
from edgead_runtime.tensorrt.gate import judge
from edgead_runtime.tensorrt.logging import Progress, ignore_progress
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.parity import check_reference, gate_pictures, require_passed
from edgead_runtime.tensorrt.places import FOLDER, folder_to_build_into, only_builder, own_folder
from edgead_runtime.tensorrt.record import (
    SCHEMA_VERSION,
    EngineRecord,
    Gpu,
    GraphName,
    refuses_hardware,
    this_platform,
)
from edgead_runtime.tensorrt.store import Wanted, open_source, rebuild_command, write_engine


@dataclass(frozen=True)
class BuiltEngine:
    """An engine that was written."""

    path: Path
    record: EngineRecord
    evaded: bool = False
    """It lies in the cache, since the encoder's own folder cannot be written."""

    def lines(self) -> list[str]:
        """What to tell the person who asked for it."""
        record = self.record
        where = (
            f"compute capability {', '.join(map(str, record.options.sm))}"
            if record.gpu is None
            else f"{record.gpu.name} (compute capability {record.gpu.sm})"
        )
        return [
            f"Wrote {self.path} ({record.plan_bytes / 1e6:.0f} MB) in {record.seconds:.0f} s.",
            *(["The encoder's own folder cannot be written, so it is in the cache."] if self.evaded else []),
            f"It is the {record.graph} graph in {record.precision} for {where}, by {record.flavour} "
            f"{record.tensorrt}, and runs nowhere else.",
            "It has not been compared with ONNX Runtime."
            if record.parity is None
            else f"On {record.parity.pictures} pictures it agrees with ONNX Runtime: patch cosine at least "
            f"{record.parity.cosine_min:.5f}.",
        ]


def check_can_build(
    flavour: FlavourName, options: BuildOptions
) -> tuple[Flavour, TensorRT, DeviceFacts | None]:
    """TensorRT, and the GPU where one is needed.

    Raises:
        EngineBuildError: The options contradict themselves or the GPU.
        EngineUnavailableError: TensorRT or the GPU is not there.
    """
    kind = FLAVOURS[flavour]
    check_options(kind, options)
    # The device first: without a driver TensorRT's own first call may end the process.
    here = None if kind.ahead_of_time else open_device().facts()
    if here is not None and refuses_hardware(options.hardware, here):
        raise EngineBuildError(
            f"an engine for all GPUs from Ampere on would not run on {here.name}, a Jetson or an older one",
            "Leave out --hardware, or build it on another GPU.",
        )
    trt = load(kind)
    if kind.ahead_of_time:
        check_targets(cast(TensorRTForRTX, trt), options.sm)
    return kind, trt, here


def build_engine(
    source: str | Path,
    flavour: FlavourName,
    options: BuildOptions | None = None,
    *,
    graph: GraphName | None = None,
    precision: Precision = "fp32",
    neighbours: int = 1,
    into_cache: bool = False,
    pictures: Path | None = None,
    unchecked: bool = False,
    progress: Progress = ignore_progress,
) -> BuiltEngine:
    """Build and write an engine for an encoder; one that does not pass the parity gate leaves a record.

    Where it cannot be written beside the encoder it goes into the cache, where it is looked for as well.
    While another process builds into the same folder, this waits.

    Args:
        source: An encoder bundle's folder, or a detector file.
        flavour: ``tensorrt`` for the GPU that is here, ``tensorrt-rtx`` for those that the options name.
        options: How.
        graph: Which graph of the bundle; by default the one that a detector would run. ``search`` is for
            ``Detector.load(index="engine")``, see :mod:`edgead_runtime.index.in_engine`.
        precision: Of the bundle's file; TensorRT computes in that of the file. A search has none: it is in
            fp32 whatever the encoder.
        neighbours: Of a search: how many of the nearest the recipe asks for.
        into_cache: Write into the cache even where the bundle is a folder.
        pictures: Folder of pictures to compare on; by default a few of the distribution's own.
        unchecked: Do not compare the engine with ONNX Runtime. One that is built ahead of time never is.
        progress: Called with (what, share done).

    Raises:
        EngineUnavailableError: TensorRT, the GPU or ONNX Runtime is not there.
        EngineBuildError: The graph cannot be built, the precision is none for TensorRT, or the engine does
            not compute what it should.
        BundleError: The bundle is missing or damaged, or lacks the graph.
        OutputError: The engine can be written nowhere; said before it is built.
    """
    options = options or BuildOptions()
    if graph == "search":
        precision = "fp32"
    kind, trt, here = check_can_build(flavour, options)
    check_capability(precision, options, None if here is None else here.sm)
    bundle, rows = open_source(source)
    check_precision(bundle, precision)
    name, model = _graph_of(bundle, graph, precision, neighbours)
    checked = [] if unchecked or kind.ahead_of_time else gate_pictures(pictures)
    if checked:
        check_reference()
    if name == "frame":
        options = with_room_for(rows, bundle.manifest, precision, options)
    place = None if bundle.path is None else str(bundle.path)
    folder = folder_to_build_into(place, into_cache=into_cache)
    with only_builder(folder, lambda: progress("Waiting for another build", 0.0)):
        plan = _build_with_times(trt, kind, model, options, here, progress)
        command = rebuild_command(place, kind, options, wanted=Wanted(graph, precision, neighbours))
        record = make_record(kind, trt, here, name, precision, model, plan, options, command)
        if checked:
            progress("Comparing with ONNX Runtime", 0.0)
            engine = TensorRtEngine(trt, kind, open_device(), plan.data, record)
            parity = judge(bundle, engine, precision, checked, neighbours)
            record = msgspec.structs.replace(record, parity=parity)
            if not parity.passed:
                with contextlib.suppress(OutputError):  # what is wrong with the engine is said all the same
                    remember_failure(folder, record)
            require_passed(parity, precision, trt.__version__)
        path = write_engine(folder, plan.data, record)
        if checked:
            forget_failure(place, record)
    return BuiltEngine(path, record, evaded=not into_cache and folder != own_folder(place))


def build_in_memory(model: bytes, flavour: FlavourName, precision: Precision) -> TensorRtEngine:
    """Build an engine for the GPU that is here and load it, without writing it or comparing it.

    Args:
        model: Any ONNX file's bytes.
        flavour: Which TensorRT.
        precision: Of the file.

    Raises:
        EngineUnavailableError: TensorRT or the GPU is not there.
        EngineBuildError: The graph cannot be built.
    """
    device = open_device()
    here = device.facts()
    options = BuildOptions(sm=(here.sm,) if FLAVOURS[flavour].ahead_of_time else ())
    check_capability(precision, options, here.sm)
    kind, trt, _ = check_can_build(flavour, options)
    plan = build_plan(trt, kind, model, options)
    record = make_record(kind, trt, here, "encoder", precision, model, plan, options, "")
    return TensorRtEngine(trt, kind, device, plan.data, record)


def make_record(
    flavour: Flavour,
    trt: TensorRT,
    here: DeviceFacts | None,
    graph: GraphName,
    precision: str,
    model: bytes,
    plan: Plan,
    options: BuildOptions,
    rebuild: str,
) -> EngineRecord:
    """What is to stand beside a plan that was just built."""
    return EngineRecord(
        schema_version=SCHEMA_VERSION,
        kind="edgead-tensorrt-engine",
        flavour=flavour.name,
        graph=graph,
        precision=precision,
        tensorrt=trt.__version__,
        # Ahead of time it is built for the GPUs of the options, whatever is here.
        gpu=None
        if here is None or flavour.ahead_of_time
        else Gpu(name=here.name, sm=here.sm, driver=here.driver),
        onnx_sha256=sha256_bytes(model),
        plan_sha256=sha256_bytes(plan.data),
        plan_bytes=len(plan.data),
        options=options,
        rebuild=rebuild,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(plan.seconds, 1),
        parity=None,
        platform="" if flavour.ahead_of_time else this_platform(),
    )


def with_room_for(
    rows: int, manifest: EncoderManifest, precision: Precision, options: BuildOptions
) -> BuildOptions:
    """Options whose largest bank holds these patches, and a quarter more for parts that are added."""
    file = manifest.frame_of(precision)
    usual, most = options.bank_blocks
    needed = 0 if file is None else -(-rows // file.block_rows)
    if needed <= most:
        return options
    return msgspec.structs.replace(options, bank_blocks=(max(usual, needed), needed + -(-needed // 4)))


def check_precision(bundle: EncoderBundle, precision: Precision) -> None:
    """Refuse what TensorRT would refuse after a while, and in other words.

    Raises:
        EngineBuildError: It is an int8 file for processors.
        PrecisionMissingError: The bundle has no such file.
    """
    file = bundle.manifest.file(precision)
    if precision == "int8" and not file.symmetric:
        raise EngineBuildError(
            "the bundle's int8 file has unsigned activations, as processors like them; TensorRT takes signed "
            "ones around 0 and no others",
            "Export it again with --precision int8 --engine tensorrt (or tensorrt-rtx).",
        )


def _graph_of(
    bundle: EncoderBundle, graph: GraphName | None, precision: Precision, neighbours: int
) -> tuple[GraphName, bytes]:
    if graph == "search":
        if not 1 <= neighbours <= ROWS_AT_ONCE:
            raise EngineBuildError(
                f"there is no search for {neighbours} neighbours", f"Give 1 to {ROWS_AT_ONCE}."
            )
        sizes = {feature.dim for feature in bundle.manifest.features}
        return "search", search_graph(max(sizes), neighbours)
    if graph == "frame" or (graph is None and bundle.manifest.frame_of(precision) is not None):
        return "frame", bundle.read_frame_graph(precision)
    return "encoder", bundle.read_model(precision)


def _build_with_times(
    trt: TensorRT,
    flavour: Flavour,
    model: bytes,
    options: BuildOptions,
    here: DeviceFacts | None,
    progress: Progress,
) -> Plan:
    """Build with what earlier builds on this GPU have measured."""
    if here is None or not options.timing_cache:
        return build_plan(trt, flavour, model, options, progress=progress)
    # Times of another GPU or TensorRT would be refused; each has a file of its own.
    key = sha256_bytes(f"{here.name}\n{here.sm}\n{trt.__version__}".encode())[:16]
    path = cache_dir() / FOLDER / f"times-{key}.cache"
    try:
        known = path.read_bytes()
    except OSError:
        known = b""
    plan = build_plan(trt, flavour, model, options, timing_cache=known, progress=progress)
    if plan.timing_cache:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, plan.timing_cache)
        except (OSError, OutputError):
            pass  # a machine without a place for it measures every time
    return plan
