"""``pycuda.driver`` as far as edgead uses it, on the simulated GPU."""

from types import SimpleNamespace

import numpy as np

from simulated_gpu.machine import Refused, SimulatedGpu


class _Freed:
    def __init__(self, free, address=0):
        self.free, self.address = free, address

    def __int__(self):
        return self.address


class _Pinned(_Freed):
    """The base of an array of pinned memory."""

    def __init__(self, free, address, size):
        super().__init__(free, address)
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


class SimulatedPyCuda:
    """The module."""

    class Error(Exception):
        pass

    class MemoryError(Error):  # noqa: A001
        pass

    class LaunchError(Error):
        pass

    device_attribute = SimpleNamespace(INTEGRATED=1)

    def __init__(self, gpu: SimulatedGpu | None):
        self.gpu = gpu
        self.pushed = 0
        module = self

        class Device:
            def __init__(self, number):
                assert number == 0

            @staticmethod
            def count():
                return 1

            def name(self):
                return module._do("name", lambda: gpu.name)

            def compute_capability(self):
                return divmod(gpu.sm, 10)

            def total_memory(self):
                return gpu.memory

            def get_attribute(self, attribute):
                assert attribute == SimulatedPyCuda.device_attribute.INTEGRATED
                return int(gpu.integrated)

            def retain_primary_context(self):
                return module._do("retain", lambda: SimpleNamespace(push=module._push))

        class Stream:
            def __init__(self):
                self.handle = module._do("stream", gpu.new_stream)

            def synchronize(self):
                module._do("synchronize", gpu.synchronize, self.handle)

            def __del__(self):
                gpu.end_stream(self.handle)

        class Event:
            def __init__(self):
                self._number = module._do("event", gpu.new_event)

            def record(self, stream):
                module._do("record", gpu.record, self._number, stream.handle)

            def time_till(self, event):
                return module._do("elapsed", gpu.elapsed_ms, self._number, event._number)

            def __del__(self):
                gpu.end_event(self._number)

        class Context:
            @staticmethod
            def synchronize():
                module._do("synchronize", gpu._finish)

        self.Device, self.Stream, self.Context, self.Event = Device, Stream, Context, Event

    def _push(self):
        self.pushed += 1

    def _do(self, call, function, *arguments):
        try:
            self.gpu.entered(call)
            return function(*arguments)
        except Refused as refused:
            kind = {
                "cudaErrorMemoryAllocation": self.MemoryError,
                "cudaErrorLaunchFailure": self.LaunchError,
            }.get(str(refused), self.Error)
            raise kind(str(refused)) from None

    def init(self):
        if self.gpu is None:
            raise self.Error("cuInit failed: no CUDA-capable device is detected")

    def get_driver_version(self):
        return self._do("driver", lambda: self.gpu.driver)

    def mem_get_info(self):
        return self.gpu.memory - self.gpu.used, self.gpu.memory

    def mem_alloc(self, size):
        address = self._do("mem_alloc", self.gpu.allocate, size)
        return _Freed(lambda: self._do("free", self.gpu.release, address), address)

    def pagelocked_empty(self, size, dtype):
        address = self._do("pagelocked_empty", self.gpu.allocate_pinned, size)
        free = _Pinned(lambda: self._do("free_host", self.gpu.release_pinned, address), address, size)
        array = np.asarray(free)
        assert array.base is free
        return array.view(dtype) if array.dtype != dtype else array

    def memcpy_htod_async(self, dest, src, stream):
        self._do("memcpy", self.gpu.copy_up, stream.handle, dest, src.ctypes.data, src.nbytes)

    def memcpy_dtoh_async(self, dest, src, stream):
        self._do("memcpy", self.gpu.copy_down, stream.handle, dest.ctypes.data, src, dest.nbytes)

    def memset_d8_async(self, dest, data, count, stream):
        self._do("memset", self.gpu.clear, stream.handle, dest, data, count)
