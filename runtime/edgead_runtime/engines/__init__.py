"""Engines: what runs an ONNX graph on this machine. One table entry and one small module each."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

from edgead_runtime.engines.measuring import fastest
from edgead_runtime.engines.protocol import (
    Array,
    Device,
    Engine,
    EngineOptions,
    EnginePrecision,
    EngineSpec,
    Uploaded,
)
from edgead_runtime.errors import EngineUnavailableError

__all__ = [
    "ENGINES",
    "Array",
    "Device",
    "Engine",
    "EngineOptions",
    "EnginePrecision",
    "EngineSpec",
    "Uploaded",
    "create_engine",
    "default_device",
    "pinned_or",
]

BF16 = "+bf16"
"""Ends the name of a way to run an int8 graph: what is not quantized is computed in bfloat16."""
PINNED = "EDGEAD_ENGINE"
"""Environment variable that says what ``auto`` is, for machines that shall all run the same."""

ENGINES: dict[str, EngineSpec] = {
    spec.name: spec
    for spec in (
        EngineSpec(
            name="onnxruntime",
            module="edgead_runtime.engines.onnxruntime",
            requires="onnxruntime",
            install='pip install "edgead-runtime[cpu]" (or [gpu] for CUDA)',
            devices=("cpu", "cuda"),
        ),
        EngineSpec(
            name="openvino",
            module="edgead_runtime.engines.openvino",
            requires="openvino",
            install='pip install "edgead-runtime[openvino]"',
            devices=("cpu",),
            precisions=("fp32", "bf16", "int8"),
        ),
        EngineSpec(
            name="tensorrt",
            module="edgead_runtime.engines.tensorrt",
            requires="tensorrt",
            install="TensorRT (JetPack has it; elsewhere: pip install tensorrt)",
            devices=("cuda",),
        ),
        EngineSpec(
            name="tensorrt-rtx",
            module="edgead_runtime.engines.tensorrt_rtx",
            requires="tensorrt_rtx",
            install='pip install "edgead-runtime[tensorrt-rtx]"',
            devices=("cuda",),
        ),
    )
}


def default_device(engine: str) -> Device:
    """Where an engine runs that is asked for by name and nothing else: ``cpu``, if it has that."""
    spec = ENGINES.get(pinned_or(engine))
    return "cpu" if spec is None or "cpu" in spec.devices else spec.devices[0]


def pinned_or(engine: str) -> str:
    """The engine's name, or what :data:`PINNED` says ``auto`` is."""
    return (os.environ.get(PINNED) or engine) if engine == "auto" else engine


def create_engine(
    model: bytes,
    engine: str = "auto",
    options: EngineOptions | None = None,
    sample: Mapping[str, Array] | None = None,
    *,
    without: Collection[str] = (),
) -> Engine:
    """Load an ONNX graph into an engine.

    Args:
        model: The ONNX file's bytes.
        engine: A name of :data:`ENGINES`, with :data:`BF16` for an int8 graph's float32 part in bfloat16; or
            ``auto`` for the fastest that is installed and has the device
            and the precision, which is measured once for a graph and machine and then remembered. The
            environment variable :data:`PINNED` says what ``auto`` is without measuring.
        options: Device, threads and precision.
        sample: Inputs to measure with; without them ``auto`` is the first of the table.
        without: Names that are not taken.

    Raises:
        EngineUnavailableError: The name is unknown, the package is not installed, or the device or precision
            asked for is not what would run. There is never a silent fallback.
    """
    options = options or EngineOptions()
    engine = pinned_or(engine)
    base, rest_in_bf16 = engine.removesuffix(BF16), engine.endswith(BF16)
    if base != "auto" and base not in ENGINES:
        raise EngineUnavailableError(
            f"unknown engine '{engine}'", f"Choose auto or one of: {', '.join(ENGINES)}."
        )
    if engine in without:
        raise EngineUnavailableError(
            f"engine '{engine}' is not to be used for this graph in {options.precision}",
            "Choose another engine or precision.",
        )
    free = [spec for spec in ENGINES.values() if spec.name not in without]
    asked = free if base == "auto" else [ENGINES[base]]
    candidates = [spec for spec in asked if spec.fits(options)]
    if not candidates:
        raise EngineUnavailableError(
            f"engine '{engine}' cannot run on '{options.device}' in {options.precision}",
            "Choose another engine, device or precision.",
        )
    installed = [spec for spec in candidates if find_spec(spec.requires) is not None]
    if not installed:
        raise EngineUnavailableError(
            f"no inference engine is installed for {options.device} and {options.precision}",
            "Install one: " + "; ".join(spec.install for spec in candidates) + ".",
        )
    if rest_in_bf16:
        return _create(installed[0], model, replace(options, rest_in_bf16=True))
    ways = [*installed, *_with_rest_in_bf16(installed, options, without)]
    if len(ways) > 1 and sample is not None:
        return fastest(ways, model, options, sample, _create_way)
    return _create_way(ways[0], model, options)


def _with_rest_in_bf16(
    specs: Sequence[EngineSpec], options: EngineOptions, without: Collection[str]
) -> list[EngineSpec]:
    """Engines once more, for a graph whose float32 part may be computed in bfloat16.

    Whether that is faster is measured: a processor may say that it has bfloat16 and be slow at it.
    """
    found = []
    for spec in specs:
        name = spec.name + BF16
        if options.rest_in_bf16 and "bf16" in spec.precisions and name not in without:
            try:
                possible = import_module(spec.module).has_bf16()
            except ImportError:
                continue
            found += [replace(spec, name=name)] if possible else []
    return found


def _create_way(spec: EngineSpec, model: bytes, options: EngineOptions) -> Engine:
    return _create(spec, model, replace(options, rest_in_bf16=spec.name.endswith(BF16)))


def _create(spec: EngineSpec, model: bytes, options: EngineOptions) -> Engine:
    try:
        module = import_module(spec.module)
    except ImportError as error:
        # Half an installation, or one for another CUDA: it is there and does not load.
        raise EngineUnavailableError(
            f"engine '{spec.name}' is installed but does not load ({error})",
            f"Install it again: {spec.install}.",
        ) from error
    created: Engine = module.create(model, options)
    return created
