"""From an ONNX file to a TensorRT plan, by the one path that 10.3 to 11.4 and TensorRT for RTX share.

Networks are strongly typed: the ONNX file says what is computed in which precision. 11 knows nothing else,
and on 10 it avoids the wrong results that users reported for vision transformers with ``--fp16``.

Run without a GPU: all of it with TensorRT for RTX 1.7. Not run: building with TensorRT itself, which needs a
GPU.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from edgead_runtime import frame_graph
from edgead_runtime.errors import EngineBuildError
from edgead_runtime.index import in_engine
from edgead_runtime.tensorrt.api import (
    Builder,
    Flavour,
    IBuilderConfig,
    INetworkDefinition,
    RtxBuilderConfig,
    TensorRT,
    TensorRTForRTX,
)
from edgead_runtime.tensorrt.interrupting import kept_until_asked
from edgead_runtime.tensorrt.logging import Messages, Progress, ignore_progress, make_logger, make_monitor
from edgead_runtime.tensorrt.loop_free import without_loop
from edgead_runtime.tensorrt.options import MIB, BuildOptions, Shapes

DYNAMIC = -1
_MOST_NODES_NAMED = 5
_TO_TRY = "Try --optimization-level 2, a smaller bank or batch, another precision, or another TensorRT."
_NO_FP32 = "FP32 GEMM is not supported"
"""What TensorRT for RTX says for compute capability 7.5; every frame graph searches in fp32."""
_ON_TURING = "Leave out --sm 75, or build --precision fp16 --graph encoder for it."


@dataclass(frozen=True)
class Plan:
    """A built engine."""

    data: bytes
    timing_cache: bytes | None
    """To be given to the next build."""
    messages: Messages
    seconds: float


def build_plan(
    trt: TensorRT,
    flavour: Flavour,
    model: bytes,
    options: BuildOptions,
    *,
    timing_cache: bytes = b"",
    detailed: bool = False,
    progress: Progress = ignore_progress,
) -> Plan:
    """Build one engine.

    Args:
        trt: The module of ``flavour``.
        flavour: Which of the two TensorRTs it is.
        model: The ONNX file's bytes. Precisions are those of the file; the loop of a frame graph is taken
            out, see :mod:`edgead_runtime.tensorrt.loop_free`.
        options: How.
        timing_cache: What an earlier build left.
        detailed: Keep what TensorRT says of the layers it made.
        progress: Called with (what, share done) while it builds. What it raises ends the build.

    Raises:
        EngineBuildError: The graph has what TensorRT does not know, or the build failed.
    """
    check_options(flavour, options)
    started = time.monotonic()
    messages = Messages()
    stopped: list[BaseException] = []
    with kept_until_asked(stopped):
        plan, times = _build(
            trt, flavour, model, options, timing_cache, detailed, progress, messages, stopped
        )
    if stopped:
        raise stopped[0]
    if plan is None:
        raise EngineBuildError(
            f"TensorRT {trt.__version__} did not build the engine ({messages.last_error()})",
            _ON_TURING if _NO_FP32 in messages.last_error() else _TO_TRY,
        )
    return Plan(data=plan, timing_cache=times, messages=messages, seconds=time.monotonic() - started)


def _build(
    trt: TensorRT,
    flavour: Flavour,
    model: bytes,
    options: BuildOptions,
    timing_cache: bytes,
    detailed: bool,
    progress: Progress,
    messages: Messages,
    stopped: list[BaseException],
) -> tuple[bytes | None, bytes | None]:
    """The plan, where there is one, and the timing cache."""
    logger = make_logger(trt, messages)
    builder = trt.Builder(logger)
    network = parse(trt, builder, without_loop(model), logger)
    config = _configure(trt, builder, flavour, options, detailed=detailed)
    shapes = profile_shapes(network, options)
    if shapes:
        profile = builder.create_optimization_profile()
        for name, (least, usual, largest) in shapes.items():
            profile.set_shape(name, least, usual, largest)
        if config.add_optimization_profile(profile) < 0:
            raise EngineBuildError(
                f"TensorRT refuses the shapes asked for ({messages.last_error()})", "Ask for smaller ones."
            )
    # TensorRT for RTX times nothing while it builds: there may be no GPU.
    keeps_times = options.timing_cache and not flavour.ahead_of_time
    if keeps_times:
        config.set_timing_cache(config.create_timing_cache(timing_cache), True)
    monitor = make_monitor(trt, progress, stopped)  # held here: not every release does
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return None, None
    times = config.get_timing_cache() if keeps_times else None
    return bytes(cast(Any, plan)), None if times is None else bytes(cast(Any, times.serialize()))


def parse(trt: TensorRT, builder: Builder, model: bytes, logger: Any) -> INetworkDefinition:
    """Read an ONNX file into a network.

    Raises:
        EngineBuildError: With the nodes that TensorRT does not know.
    """
    # 11 knows networks of this kind alone and ignores the flag, as long as it has it.
    strongly = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strongly is None else 1 << int(strongly))
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model):
        return network
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    nodes = [
        f"{error.node_operator() or 'graph'} '{error.node_name()}': {_first_line(error.desc())}"
        for error in errors[:_MOST_NODES_NAMED]
    ]
    more = f" and {len(errors) - _MOST_NODES_NAMED} more" if len(errors) > _MOST_NODES_NAMED else ""
    raise EngineBuildError(
        f"TensorRT {trt.__version__} does not understand the graph: "
        f"{'; '.join(nodes) or 'no node named'}{more}",
        "Export the encoder again with --opset 17, or install a newer TensorRT.",
    )


def profile_shapes(network: INetworkDefinition, options: BuildOptions) -> dict[str, Shapes]:
    """The range of every input that has a size left open.

    Raises:
        EngineBuildError: An input's open size is none that edgead knows.
    """
    ranges: dict[str, Shapes] = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if DYNAMIC not in shape:
            continue
        sizes = [
            _range(network, tensor.name, axis, options) if size == DYNAMIC else (size, size, size)
            for axis, size in enumerate(shape)
        ]
        least, usual, largest = zip(*sizes, strict=True)
        ranges[tensor.name] = (least, usual, largest)
    return ranges


def _range(network: INetworkDefinition, name: str, axis: int, options: BuildOptions) -> tuple[int, int, int]:
    blocks, (height, width) = options.bank_blocks, options.map_hw
    # Of a search, the neighbours that are asked for are the last size of its output.
    least = max([in_engine.LEAST_ROWS, *tuple(network.get_output(0).shape)[-1:]])
    most_queries, most_rows = in_engine.QUERIES_AT_ONCE, in_engine.ROWS_AT_ONCE
    open_sizes: Mapping[tuple[str, int], tuple[int, int, int]] = {
        (frame_graph.BANK, 0): (1, *blocks),
        (frame_graph.BANK_BIAS, 0): (1, *blocks),
        (frame_graph.MAP_DOWN, 0): (1, height, height),
        (frame_graph.MAP_ACROSS, 0): (1, width, width),
        (in_engine.QUERIES, 0): (1, most_queries, most_queries),
        (in_engine.ROWS, 0): (least, most_rows, most_rows),
    }
    if (name, axis) in open_sizes:
        return open_sizes[name, axis]
    if axis == 0:
        return options.batch
    raise EngineBuildError(
        f"axis {axis} of the graph's input '{name}' is open, and nothing says how large it may be",
        "Export the encoder again.",
    )


def _configure(
    trt: TensorRT, builder: Builder, flavour: Flavour, options: BuildOptions, *, detailed: bool
) -> IBuilderConfig:
    config = builder.create_builder_config()
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if detailed:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware == "ampere-plus":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    elif options.hardware == "same-capability":
        level = getattr(trt.HardwareCompatibilityLevel, "SAME_COMPUTE_CAPABILITY", None)
        if level is None:
            raise EngineBuildError(
                f"TensorRT {trt.__version__} cannot build for a whole compute capability",
                "Leave out --hardware, or install TensorRT 10.9 or newer.",
            )
        config.hardware_compatibility_level = level
    if flavour.ahead_of_time:
        _set_targets(cast(TensorRTForRTX, trt), cast(RtxBuilderConfig, config), options.sm)
    return config


def _set_targets(trt: TensorRTForRTX, config: RtxBuilderConfig, targets: tuple[int, ...]) -> None:
    check_targets(trt, targets)
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{target}"], index)


def check_targets(trt: TensorRTForRTX, targets: tuple[int, ...]) -> None:
    """Refuse a GPU that TensorRT for RTX has not.

    Raises:
        EngineBuildError: With those that it has.
    """
    known = trt.ComputeCapability.__members__
    for target in targets:
        if f"SM{target}" not in known:
            have = " ".join(name[2:] for name in known if name.startswith("SM"))
            raise EngineBuildError(
                f"TensorRT for RTX {trt.__version__} has no compute capability {target}",
                f"It has: {have}. For another (a Jetson Orin is 87), run `edgead-runtime build` there.",
            )


def check_options(flavour: Flavour, options: BuildOptions) -> None:
    """Refuse options that contradict themselves or the flavour, before anything is loaded.

    Raises:
        EngineBuildError: They do.
    """
    options.check()
    if flavour.ahead_of_time:
        if not options.sm:
            raise EngineBuildError(
                f"{flavour.name} is built ahead of time and has to be told for which GPUs",
                "Add --sm with their compute capabilities, e.g. --sm 86 89 120.",
            )
        # Each of these needs a GPU while building, which this flavour is there to do without.
        if options.hardware != "this" or options.version_compatible:
            raise EngineBuildError(
                "--hardware and --version-compatible are not for TensorRT for RTX",
                "Name the GPUs with --sm instead.",
            )
    elif options.sm:
        raise EngineBuildError(
            "TensorRT builds for the GPU that is here, not for others",
            "Leave out --sm, or build with --engine tensorrt-rtx.",
        )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
