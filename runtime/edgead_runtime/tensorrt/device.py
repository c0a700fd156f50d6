"""The little of CUDA that is needed, as a protocol: memory, streams, graphs, and what the GPU is.

Addresses, streams and graphs are plain numbers, so that TensorRT can be given them. Every call is checked and
a failure is a :class:`GpuError` of edgead's. Of several GPUs the first is used; ``CUDA_VISIBLE_DEVICES``
chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.errors import EngineUnavailableError, GpuError, GpuLostError, GpuMemoryError

Bytes = NDArray[np.uint8]
HostArray = NDArray[np.generic]


@dataclass(frozen=True)
class DeviceFacts:
    """What an engine is bound to."""

    name: str
    sm: int
    """Compute capability as one number: 87 for 8.7."""
    driver: str
    """The newest CUDA that the driver knows, e.g. ``12.6``."""
    memory_bytes: int
    integrated: bool
    """It shares its memory with the processor, as a Jetson does."""


class DeviceMemory(Protocol):
    """One GPU. May be called from several threads; a stream is one thread's at a time."""

    def facts(self) -> DeviceFacts:
        """What GPU it is."""

    def free_bytes(self) -> int:
        """Memory that is free now."""

    def allocate(self, size: int) -> int:
        """``size`` bytes on the GPU; their address.

        Raises:
            GpuMemoryError: There are not as many.
        """

    def release(self, address: int) -> None:
        """Give back what :meth:`allocate` gave."""

    def allocate_pinned(self, size: int) -> Bytes:
        """``size`` bytes of the host that the GPU can copy from and to while the processor goes on."""

    def release_pinned(self, array: Bytes) -> None:
        """Give back what :meth:`allocate_pinned` gave."""

    def new_stream(self) -> int:
        """A queue of work for the GPU."""

    def end_stream(self, stream: int) -> None:
        """Give it back."""

    def wait(self, stream: int) -> None:
        """Until everything in the stream is done."""

    def copy_up(self, address: int, source: HostArray, stream: int) -> None:
        """Queue a copy of a contiguous array to the GPU. The array must be left alone until it is done."""

    def copy_down(self, target: HostArray, address: int, stream: int) -> None:
        """Queue a copy from the GPU that fills a contiguous array."""

    def clear(self, address: int, size: int, stream: int) -> None:
        """Queue setting bytes to zero."""

    @property
    def captures(self) -> bool:
        """Whether work can be captured."""

    def begin_capture(self, stream: int) -> None:
        """From here on, work put into the stream is remembered and not done."""

    def end_capture(self, stream: int) -> int | None:
        """What was remembered, to be launched any number of times; ``None`` where it cannot be."""

    def launch(self, graph: int, stream: int) -> None:
        """Queue all of a graph."""

    def end_graph(self, graph: int) -> None:
        """Give it back."""

    def new_event(self) -> int:
        """A mark that keeps the time at which a stream came to it."""

    def end_event(self, event: int) -> None:
        """Give it back."""

    def record(self, event: int, stream: int) -> None:
        """Queue the mark. Not while the stream is captured: a mark in a graph keeps no time."""

    def elapsed_ms(self, first: int, last: int) -> float:
        """Milliseconds on the GPU's clock between two marks whose streams have been waited for."""


LOST = frozenset(
    {
        "cudaErrorIllegalAddress",
        "cudaErrorLaunchFailure",
        "cudaErrorLaunchTimeout",
        "cudaErrorIllegalInstruction",
        "cudaErrorMisalignedAddress",
        "cudaErrorHardwareStackError",
        "cudaErrorECCUncorrectable",
        "cudaErrorDevicesUnavailable",
        "cudaErrorContextIsDestroyed",
        "cudaErrorMpsConnectionFailed",
        "cudaErrorUnknown",
    }
)
"""After one of these, every later call of the process fails in the same way."""
OUT_OF_MEMORY = "cudaErrorMemoryAllocation"


def failure(call: str, code: str) -> GpuError:
    """The typed error for a CUDA error by its name."""
    if code == OUT_OF_MEMORY:
        return GpuMemoryError(
            f"the GPU's memory is used up ({call})",
            "Close what else uses the GPU, take back good parts, or build with a smaller bank or batch.",
        )
    if code in LOST:
        return GpuLostError(
            f"the GPU answers no more ({call}: {code})",
            "Start the program again. If it comes back, look at the kernel's messages for 'Xid' or 'nvgpu'.",
        )
    return GpuError(
        f"the GPU refused a call ({call}: {code})",
        "Run `edgead-runtime doctor`; it looks for versions that do not fit together.",
    )


def _bindings() -> DeviceMemory:
    from edgead_runtime.tensorrt.cuda_bindings import CudaBindings

    return CudaBindings.open(import_module("cuda.bindings.runtime"))


def _pycuda() -> DeviceMemory:
    from edgead_runtime.tensorrt.pycuda import PyCuda

    return PyCuda.open(import_module("pycuda.driver"))


IMPLEMENTATIONS: dict[str, Callable[[], DeviceMemory]] = {
    "cuda.bindings.runtime": _bindings,
    "pycuda.driver": _pycuda,
}
"""By the module that must be importable; the first that is there is taken."""


def open_device() -> DeviceMemory:
    """The GPU.

    Called before TensorRT is: without a driver, some of its builds end the process instead of failing.

    Raises:
        EngineUnavailableError: There is no GPU, no driver, or no package to reach it with.
    """
    for module, implementation in IMPLEMENTATIONS.items():
        if _found(module):
            return implementation()
    raise EngineUnavailableError(
        "nothing is installed to reach an NVIDIA GPU with",
        'pip install "edgead-runtime[tensorrt]" (on JetPack 6: pip install "cuda-bindings<13").',
    )


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # a parent that is missing or broken
        return False
