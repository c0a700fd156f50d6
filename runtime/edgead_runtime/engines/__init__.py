"""Engines: what runs an ONNX graph on this machine. One table entry and one small module each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.errors import EngineUnavailableError

Device = Literal["cpu", "cuda"]
Array = NDArray[np.generic]


class Engine(Protocol):
    """Runs one graph. Safe for calls to :meth:`run` from several threads; a context manager."""

    name: str
    """What really runs, e.g. ``onnxruntime/cpu``; never what was merely asked for."""

    def bind(self, name: str, array: Array) -> None:
        """Keep ``array`` as input ``name`` for every following run (on the device, where there is one)."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; inputs that were bound are not in ``feeds``."""

    def close(self) -> None:
        """Release the graph and its memory."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class EngineOptions:
    """How an engine should use the machine. ``threads=None`` leaves the choice to the engine."""

    device: Device = "cpu"
    threads: int | None = None


@dataclass(frozen=True)
class EngineSpec:
    """A way to run a graph: which module must be importable, and what to install where it is not."""

    name: str
    module: str
    """Module of this package with ``create(model: bytes, options: EngineOptions) -> Engine``."""
    requires: str
    """Import name of the third-party package."""
    install: str
    devices: tuple[Device, ...]


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
    )
}


def create_engine(model: bytes, engine: str = "auto", options: EngineOptions | None = None) -> Engine:
    """Load an ONNX graph into an engine.

    Args:
        model: The ONNX file's bytes.
        engine: A name of :data:`ENGINES`, or ``auto`` for the first that is installed and has the device.
        options: Device and threads.

    Raises:
        EngineUnavailableError: The name is unknown, the package is not installed, or the device asked for
            is not what would run. There is never a silent fallback.
    """
    options = options or EngineOptions()
    if engine != "auto" and engine not in ENGINES:
        raise EngineUnavailableError(
            f"unknown engine '{engine}'", f"Choose auto or one of: {', '.join(ENGINES)}."
        )
    candidates = [
        spec
        for spec in (ENGINES.values() if engine == "auto" else [ENGINES[engine]])
        if options.device in spec.devices
    ]
    if not candidates:
        raise EngineUnavailableError(
            f"engine '{engine}' cannot run on '{options.device}'", "Choose another engine or device."
        )
    for spec in candidates:
        if find_spec(spec.requires) is not None:
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
    raise EngineUnavailableError(
        "no inference engine is installed for " + options.device,
        "Install one: " + "; ".join(spec.install for spec in candidates) + ".",
    )
