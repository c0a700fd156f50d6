"""Loading the engine that was built for a graph, or building it again where the user allows that."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from edgead_runtime.engines.protocol import EngineOptions
from edgead_runtime.errors import BundleError, GpuError
from edgead_runtime.tensorrt.api import FLAVOURS, Flavour, load
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.device import DeviceFacts, open_device
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.finding import EngineMissingError, ForAnotherError, find_engine
from edgead_runtime.tensorrt.places import folder_to_build_into, only_builder
from edgead_runtime.tensorrt.record import EngineRecord
from edgead_runtime.tensorrt.store import identify, options_for, rebuild_command

REBUILD = "EDGEAD_REBUILD"
"""Environment variable: 1 allows what ``rebuild=True`` allows."""
log = logging.getLogger("edgead.tensorrt")
Found = tuple[bytes, EngineRecord]
"""A plan and what stands beside it."""


def open_engine(model: bytes, options: EngineOptions, flavour_name: str) -> TensorRtEngine:
    """Load the engine that was built for a graph on this machine.

    One that is missing, or was built for another GPU, TensorRT or file, is an error: building takes minutes
    and most of the GPU. Where ``options.rebuild`` or :data:`REBUILD` allows it, it is built once, which is
    logged as a warning before it begins; the parity gate is passed as ever. One that did not pass it here is
    not built again for the asking.

    Args:
        model: The ONNX file's bytes.
        options: ``bundle`` says where the graph came from.
        flavour_name: A name of :data:`edgead_runtime.tensorrt.api.FLAVOURS`.

    Raises:
        EngineUnavailableError: There is no GPU, no TensorRT, or no engine that fits them and passed its gate.
        EngineBuildError: It was to be built again, and that failed.
        BundleError: The engine is damaged.
    """
    flavour = FLAVOURS[flavour_name]
    device = open_device()
    trt = load(flavour)
    here = device.facts()

    def find() -> Found:
        return find_engine(model, options.bundle, flavour, trt.__version__, here)

    try:
        plan, record = find()
    except (EngineMissingError, ForAnotherError) as error:
        if options.bundle is None or not (options.rebuild or os.environ.get(REBUILD) == "1"):
            raise
        # What may be right on a machine that shares the folder stays, or the two would build in turns.
        into_cache = isinstance(error, ForAnotherError) and error.elsewhere
        plan, record = _find_or_build(model, options.bundle, flavour, here, find, into_cache=into_cache)
    try:
        return TensorRtEngine(trt, flavour, device, plan, record)
    except GpuError:
        raise
    except RuntimeError as error:  # what the bindings make of an exception of TensorRT's own
        raise _not_loaded(error, model, options, flavour, record) from error


def _find_or_build(
    model: bytes,
    source: str,
    flavour: Flavour,
    here: DeviceFacts,
    find: Callable[[], Found],
    *,
    into_cache: bool,
) -> Found:
    """Build an engine, unless another process was doing so and has one by now."""
    folder = folder_to_build_into(source, into_cache=into_cache)

    def waiting() -> None:
        log.warning("Another process is building an engine in %s. Waiting for that.", folder)

    with only_builder(folder, waiting):
        try:
            return find()
        except (EngineMissingError, ForAnotherError) as error:
            _build(model, source, flavour, here, error, into_cache=into_cache)
        return find()


def _build(
    model: bytes,
    source: str,
    flavour: Flavour,
    here: DeviceFacts,
    why: EngineMissingError | ForAnotherError,
    *,
    into_cache: bool,
) -> None:
    wanted = identify(model, source)
    how = options_for(why.options, flavour, here)
    log.warning("%s. It is built now, which takes minutes.", why.problem)
    built = build_engine(
        source,
        flavour.name,
        how,
        graph=wanted.graph,
        precision=wanted.precision,
        neighbours=wanted.neighbours,
        into_cache=into_cache,
    )
    log.warning("%s", " ".join(built.lines()))


def _not_loaded(
    error: RuntimeError, model: bytes, options: EngineOptions, flavour: Flavour, record: EngineRecord
) -> BundleError:
    wanted = identify(model, options.bundle)
    return BundleError(
        f"TensorRT does not load the engine ({str(error).splitlines()[0]})",
        "Build it again: " + rebuild_command(options.bundle, flavour, record.options, wanted=wanted),
    )
