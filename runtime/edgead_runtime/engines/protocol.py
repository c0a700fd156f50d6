"""What an engine is: the protocol, its options and its entry in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Device = Literal["cpu", "cuda"]
EnginePrecision = Literal["fp32", "bf16", "int8", "fp8"]
Array = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Uploaded:
    """An array where an engine runs; fed to :meth:`Engine.run` of the engine that made it."""

    native: Any
    """The engine's own tensor."""


class Engine(Protocol):
    """Runs one graph. Safe for calls to :meth:`run` from several threads; a context manager."""

    name: str
    """What really runs, e.g. ``onnxruntime/cpu``; never what was merely asked for."""

    def upload(self, array: Array) -> Uploaded:
        """Put ``array`` where the engine runs, to be fed any number of times without moving again.

        It belongs to the caller and not to the engine: one engine serves several detectors, each with a bank
        of its own. What is in ``array`` must not change while it is fed (it may not have been copied), and
        where an array is the first part of a larger one, neither must it while a longer part is (an engine
        may copy only what was added).
        """

    def run(
        self, feeds: Mapping[str, Array | Uploaded], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run the graph once.

        Args:
            feeds: Every input by name.
            outputs: Which outputs are wanted; ``None``: all.
        """

    def close(self) -> None:
        """Release the graph and its memory."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class TakesDeviceArrays(Protocol):
    """What an engine that takes arrays which are on the GPU already has beside :class:`Engine`."""

    def adopt(self, value: object, shape: tuple[int, ...] | None = None) -> Uploaded:
        """An array of another library on the GPU, as something to feed; nothing is copied.

        Args:
            value: With ``__cuda_array_interface__`` or DLPack's methods, or what this gave. It must not
                change while it is fed.
            shape: What to see it as, of as many elements.

        Returns:
            Its ``native`` has ``shape`` and ``dtype``.

        Raises:
            PictureError: It is not on the GPU, or not contiguous.
        """


@runtime_checkable
class TakesSoMuch(Protocol):
    """What an engine whose inputs have a largest size has beside :class:`Engine`."""

    def check_size(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse what :meth:`Engine.run` would refuse.

        Args:
            name: Of an input.
            shape: What it is to be fed.

        Raises:
            EngineUnavailableError: The engine was built for less.
        """


@dataclass(frozen=True)
class EngineOptions:
    """How an engine should use the machine. ``threads=None`` leaves the choice to the engine."""

    device: Device = "cpu"
    threads: int | None = None
    precision: EnginePrecision = "fp32"
    """What a float32 graph is computed in; ``bf16`` only where asked for, since it changes the numbers.
    ``int8`` or ``fp8``: the graph has quantized layers (QuantizeLinear, DequantizeLinear) of that kind."""
    rest_in_bf16: bool = False
    """With ``int8``: what is not quantized may be computed in bfloat16. For an engine: it is."""
    exact_after: tuple[str, ...] = ()
    """Outputs of the graph where a smaller precision ends: what is made from them is computed in float32."""
    rebuild: bool = field(default=False, repr=False)
    """Build an engine that is missing, or that was built for another GPU, version or weights. Takes minutes;
    the environment variable ``EDGEAD_REBUILD=1`` says the same."""
    bundle: str | None = field(default=None, repr=False)
    """Where the graph came from: engines that are built ahead lie there, and messages name it."""


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
    precisions: tuple[EnginePrecision, ...] = ("fp32", "int8", "fp8")

    def fits(self, options: EngineOptions) -> bool:
        """Whether it has the device and the precision."""
        return options.device in self.devices and options.precision in self.precisions
