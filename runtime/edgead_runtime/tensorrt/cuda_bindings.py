"""The GPU through NVIDIA's cuda-bindings (12.9 for JetPack 6, 13 elsewhere).

Every line runs in the tests on a simulated CUDA runtime. Run once on a GPU, an H100, with 13.3.1 and a kernel
in the place of TensorRT's.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from edgead_runtime.errors import EngineUnavailableError
from edgead_runtime.tensorrt.device import Bytes, DeviceFacts, HostArray, failure

_NO_GPU = "No NVIDIA GPU can be used here: run `edgead-runtime doctor`, or choose another engine."


class CudaBindings:
    """See :class:`edgead_runtime.tensorrt.device.DeviceMemory`."""

    def __init__(self, runtime: Any) -> None:
        self._cuda = runtime

    @classmethod
    def open(cls, runtime: Any) -> CudaBindings:
        """Use the first GPU.

        Args:
            runtime: The module ``cuda.bindings.runtime``.

        Raises:
            EngineUnavailableError: There is no driver or no GPU.
        """
        code, count = runtime.cudaGetDeviceCount()
        if code != runtime.cudaError_t.cudaSuccess:
            raise EngineUnavailableError(f"CUDA finds no GPU ({code.name})", _NO_GPU)
        if not count:
            raise EngineUnavailableError("CUDA finds no GPU", _NO_GPU)
        return cls(runtime)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime; its value, its values, or nothing."""
        code, *values = getattr(self._cuda, name)(*arguments)
        if code != self._cuda.cudaError_t.cudaSuccess:
            raise failure(name, code.name)
        return values[0] if len(values) == 1 else tuple(values)

    def facts(self) -> DeviceFacts:
        """What GPU it is."""
        found = self._call("cudaGetDeviceProperties", 0)
        driver = self._call("cudaDriverGetVersion")
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return DeviceFacts(
            name=name.rstrip("\0"),
            sm=10 * found.major + found.minor,
            driver=f"{driver // 1000}.{driver % 1000 // 10}",
            memory_bytes=int(found.totalGlobalMem),
            integrated=bool(found.integrated),
        )

    def free_bytes(self) -> int:
        """Memory that is free now."""
        free, _ = self._call("cudaMemGetInfo")
        return int(free)

    def allocate(self, size: int) -> int:
        """``size`` bytes on the GPU."""
        return int(self._call("cudaMalloc", size))

    def release(self, address: int) -> None:
        """Give it back."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> Bytes:
        """``size`` bytes of the host that are not paged out."""
        address = int(self._call("cudaMallocHost", size))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def release_pinned(self, array: Bytes) -> None:
        """Give it back."""
        self._call("cudaFreeHost", array.ctypes.data)

    def new_stream(self) -> int:
        """A stream that does not wait for the default one."""
        return int(self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking))

    def end_stream(self, stream: int) -> None:
        """Give it back."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: int) -> None:
        """Until everything in it is done."""
        self._call("cudaStreamSynchronize", stream)

    def copy_up(self, address: int, source: HostArray, stream: int) -> None:
        """Queue a copy to the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, stream)

    def copy_down(self, target: HostArray, address: int, stream: int) -> None:
        """Queue a copy from the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, stream)

    def clear(self, address: int, size: int, stream: int) -> None:
        """Queue setting bytes to zero."""
        self._call("cudaMemsetAsync", address, 0, size, stream)

    @property
    def captures(self) -> bool:
        """Whether work can be captured."""
        return True

    def begin_capture(self, stream: int) -> None:
        """Remember what is put into the stream; other threads may go on allocating meanwhile."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int | None:
        """What was remembered, or ``None``: something in it cannot be, and the capture is over either way."""
        code, graph = self._cuda.cudaStreamEndCapture(stream)
        if code != self._cuda.cudaError_t.cudaSuccess:
            refused = failure("cudaStreamEndCapture", code.name)
            if "Capture" in code.name:
                self._cuda.cudaGetLastError()  # or the next call that looks would report it again
                return None
            raise refused
        try:
            return int(self._call("cudaGraphInstantiate", graph, 0))
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Queue all of a graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def end_graph(self, graph: int) -> None:
        """Give it back."""
        self._call("cudaGraphExecDestroy", graph)

    def new_event(self) -> int:
        """A mark with a time."""
        return int(self._call("cudaEventCreate"))

    def end_event(self, event: int) -> None:
        """Give it back."""
        self._call("cudaEventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        """Queue the mark."""
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, first: int, last: int) -> float:
        """Milliseconds between two marks."""
        return float(self._call("cudaEventElapsedTime", first, last))
