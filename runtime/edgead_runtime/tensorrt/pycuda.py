"""The GPU through pycuda, for devices that have it already; cuda-bindings is the usual way.

pycuda has no wheels and is built against a CUDA toolkit. Run in the tests on a simulated driver; not on a
GPU. Frames are not captured as graphs through it, since pycuda has no functions for graphs: every frame is
queued anew, as it is where TensorRT cannot be captured. That costs processor time and no result.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np

from edgead_runtime.errors import EngineUnavailableError, GpuError
from edgead_runtime.tensorrt.device import OUT_OF_MEMORY, Bytes, DeviceFacts, HostArray, failure


class PyCuda:
    """See :class:`edgead_runtime.tensorrt.device.DeviceMemory`."""

    def __init__(self, driver: Any, gpu: Any) -> None:
        self._cuda = driver
        self._gpu = gpu
        self._context = gpu.retain_primary_context()  # the one that TensorRT uses too
        self._current = threading.local()
        self._allocations: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        self._events: dict[int, Any] = {}
        self._numbers = itertools.count(1)  # pycuda does not say an event's own

    @classmethod
    def open(cls, driver: Any) -> PyCuda:
        """Use the first GPU.

        Args:
            driver: The module ``pycuda.driver``.

        Raises:
            EngineUnavailableError: There is no driver or no GPU, or it cannot be used.
        """
        remedy = "Run `edgead-runtime doctor`, or choose another engine."
        try:
            driver.init()
            count = driver.Device.count()
        except driver.Error as error:
            raise EngineUnavailableError(f"CUDA finds no GPU ({error})", remedy) from error
        if not count:
            raise EngineUnavailableError("CUDA finds no GPU", remedy)
        try:
            return cls(driver, driver.Device(0))
        except driver.Error as error:  # its memory may be used up, or it may be another's alone
            raise EngineUnavailableError(f"CUDA does not open the GPU ({error})", remedy) from error

    def _call(self, name: str, function: Any, *arguments: Any) -> Any:
        """Call pycuda in this thread, with the context that every thread has to be given once."""
        try:
            if not getattr(self._current, "pushed", False):
                self._context.push()
                self._current.pushed = True
            return function(*arguments)
        except self._cuda.MemoryError as error:
            raise failure(name, OUT_OF_MEMORY) from error
        except self._cuda.LaunchError as error:
            raise failure(name, "cudaErrorLaunchFailure") from error
        except self._cuda.Error as error:
            raise failure(name, str(error)) from error

    def facts(self) -> DeviceFacts:
        """What GPU it is."""
        gpu, cuda = self._gpu, self._cuda
        driver = self._call("cuDriverGetVersion", cuda.get_driver_version)
        major, minor = self._call("cuDeviceGetAttribute", gpu.compute_capability)
        integrated = self._call("cuDeviceGetAttribute", gpu.get_attribute, cuda.device_attribute.INTEGRATED)
        return DeviceFacts(
            name=self._call("cuDeviceGetName", gpu.name),
            sm=10 * major + minor,
            driver=f"{driver // 1000}.{driver % 1000 // 10}",
            memory_bytes=self._call("cuDeviceTotalMem", gpu.total_memory),
            integrated=bool(integrated),
        )

    def free_bytes(self) -> int:
        """Memory that is free now."""
        return int(self._call("cuMemGetInfo", self._cuda.mem_get_info)[0])

    def allocate(self, size: int) -> int:
        """``size`` bytes on the GPU."""
        allocation = self._call("cuMemAlloc", self._cuda.mem_alloc, size)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def release(self, address: int) -> None:
        """Give it back."""
        self._call("cuMemFree", self._allocations.pop(address).free)

    def allocate_pinned(self, size: int) -> Bytes:
        """``size`` bytes of the host that are not paged out."""
        array = self._call("cuMemHostAlloc", self._cuda.pagelocked_empty, size, np.uint8)
        self._pinned[array.ctypes.data] = array.base
        return np.asarray(array)

    def release_pinned(self, array: Bytes) -> None:
        """Give it back."""
        self._call("cuMemFreeHost", self._pinned.pop(array.ctypes.data).free)

    def new_stream(self) -> int:
        """A stream."""
        stream = self._call("cuStreamCreate", self._cuda.Stream)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def end_stream(self, stream: int) -> None:
        """Give it back; pycuda does so when nobody holds it."""
        self._streams.pop(stream, None)

    def wait(self, stream: int) -> None:
        """Until everything in it is done."""
        known = self._streams.get(stream)
        if known is None:  # another library's: pycuda has no way to take its number for a stream
            self._call("cuCtxSynchronize", self._cuda.Context.synchronize)
            return
        self._call("cuStreamSynchronize", known.synchronize)

    def copy_up(self, address: int, source: HostArray, stream: int) -> None:
        """Queue a copy to the GPU."""
        self._call("cuMemcpyHtoDAsync", self._cuda.memcpy_htod_async, address, source, self._streams[stream])

    def copy_down(self, target: HostArray, address: int, stream: int) -> None:
        """Queue a copy from the GPU."""
        self._call("cuMemcpyDtoHAsync", self._cuda.memcpy_dtoh_async, target, address, self._streams[stream])

    def clear(self, address: int, size: int, stream: int) -> None:
        """Queue setting bytes to zero."""
        self._call("cuMemsetD8Async", self._cuda.memset_d8_async, address, 0, size, self._streams[stream])

    @property
    def captures(self) -> bool:
        """Whether work can be captured."""
        return False

    def begin_capture(self, stream: int) -> None:
        """Not offered."""
        raise GpuError("pycuda is not used to capture graphs", "Install cuda-bindings.")

    def end_capture(self, stream: int) -> int | None:
        """Nothing was captured."""

    def launch(self, graph: int, stream: int) -> None:
        """Not offered."""
        raise GpuError("pycuda is not used to launch graphs", "Install cuda-bindings.")

    def end_graph(self, graph: int) -> None:
        """There is none."""

    def new_event(self) -> int:
        """A mark with a time."""
        event = next(self._numbers)
        self._events[event] = self._call("cuEventCreate", self._cuda.Event)
        return event

    def end_event(self, event: int) -> None:
        """Give it back; pycuda does so when nobody holds it."""
        self._events.pop(event, None)

    def record(self, event: int, stream: int) -> None:
        """Queue the mark."""
        self._call("cuEventRecord", self._events[event].record, self._streams[stream])

    def elapsed_ms(self, first: int, last: int) -> float:
        """Milliseconds between two marks."""
        return float(self._call("cuEventElapsedTime", self._events[first].time_till, self._events[last]))
