"""Engines: what runs an ONNX graph on this machine. One table entry and one small module each."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
]

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
            precisions=("fp32", "bf16"),
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
    spec = ENGINES.get(_pinned(engine))
    return "cpu" if spec is None or "cpu" in spec.devices else spec.devices[0]


def _pinned(engine: str) -> str:
    return (os.environ.get(PINNED) or engine) if engine == "auto" else engine


def create_engine(
    model: bytes,
    engine: str = "auto",
    options: EngineOptions | None = None,
    sample: Mapping[str, Array] | None = None,
) -> Engine:
    """Load an ONNX graph into an engine.

    Args:
        model: The ONNX file's bytes.
        engine: A name of :data:`ENGINES`, or ``auto`` for the fastest that is installed and has the device
            and the precision, which is measured once for a graph and machine and then remembered. The
            environment variable :data:`PINNED` says what ``auto`` is without measuring.
        options: Device, threads and precision.
        sample: Inputs to measure with; without them ``auto`` is the first of the table.

    Raises:
        EngineUnavailableError: The name is unknown, the package is not installed, or the device or precision
            asked for is not what would run. There is never a silent fallback.
    """
    options = options or EngineOptions()
    engine = _pinned(engine)
    if engine != "auto" and engine not in ENGINES:
        raise EngineUnavailableError(
            f"unknown engine '{engine}'", f"Choose auto or one of: {', '.join(ENGINES)}."
        )
    asked = ENGINES.values() if engine == "auto" else [ENGINES[engine]]
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
    if len(installed) > 1 and sample is not None:
        return fastest(installed, model, options, sample, _create)
    return _create(installed[0], model, options)


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
