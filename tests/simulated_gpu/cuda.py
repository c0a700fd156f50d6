"""``cuda.bindings.runtime`` as far as edgead uses it, on the simulated GPU."""

import enum
from types import SimpleNamespace

from simulated_gpu.machine import Refused, SimulatedGpu

_ERRORS = {
    "cudaSuccess": 0,
    "cudaErrorMemoryAllocation": 2,
    "cudaErrorInsufficientDriver": 35,
    "cudaErrorNoDevice": 100,
    "cudaErrorInvalidValue": 1,
    "cudaErrorECCUncorrectable": 214,
    "cudaErrorNotReady": 600,
    "cudaErrorIllegalAddress": 700,
    "cudaErrorLaunchFailure": 719,
    "cudaErrorStreamCaptureInvalidated": 901,
    "cudaErrorUnknown": 999,
}


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class SimulatedCudart:
    """Every function answers ``(error, *values)``, as the real ones do."""

    cudaError_t = enum.IntEnum("cudaError_t", _ERRORS)
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaStreamNonBlocking = 1

    def __init__(self, gpu: SimulatedGpu | None, no_device="cudaErrorInsufficientDriver"):
        self.gpu = gpu
        self._no_device = no_device

    def _do(self, call, function, *arguments, values=1):
        try:
            self.gpu.entered(call)
            found = function(*arguments)
        except Refused as refused:
            return (self.cudaError_t[str(refused)], *[None] * values)
        if values == 0:
            return (self.cudaError_t.cudaSuccess,)
        return (self.cudaError_t.cudaSuccess, *(found if isinstance(found, tuple) else (found,)))

    def cudaGetDeviceCount(self):
        if self.gpu is None:
            return self.cudaError_t[self._no_device], None
        return self._do("cudaGetDeviceCount", lambda: 1)

    def cudaGetDeviceProperties(self, device):
        gpu = self.gpu
        facts = SimpleNamespace(
            name=gpu.name.encode() + b"\0" * 8,
            major=gpu.sm // 10,
            minor=gpu.sm % 10,
            totalGlobalMem=gpu.memory,
            integrated=int(self.gpu.integrated),
        )
        return self._do("cudaGetDeviceProperties", lambda: facts)

    def cudaDriverGetVersion(self):
        return self._do("cudaDriverGetVersion", lambda: self.gpu.driver)

    def cudaMemGetInfo(self):
        return self._do(
            "cudaMemGetInfo", lambda: (self.gpu.memory - self.gpu.used, self.gpu.memory), values=2
        )

    def cudaMalloc(self, size):
        return self._do("cudaMalloc", self.gpu.allocate, size)

    def cudaFree(self, devPtr):
        return self._do("cudaFree", self.gpu.release, devPtr, values=0)

    def cudaMallocHost(self, size):
        return self._do("cudaMallocHost", self.gpu.allocate_pinned, size)

    def cudaFreeHost(self, ptr):
        return self._do("cudaFreeHost", self.gpu.release_pinned, ptr, values=0)

    def cudaStreamCreateWithFlags(self, flags):
        return self._do("cudaStreamCreateWithFlags", self.gpu.new_stream)

    def cudaStreamDestroy(self, stream):
        return self._do("cudaStreamDestroy", self.gpu.end_stream, stream, values=0)

    def cudaStreamSynchronize(self, stream):
        return self._do("cudaStreamSynchronize", self.gpu.synchronize, stream, values=0)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        if kind == cudaMemcpyKind.cudaMemcpyHostToDevice:
            return self._do("cudaMemcpyAsync", self.gpu.copy_up, stream, dst, src, count, values=0)
        return self._do("cudaMemcpyAsync", self.gpu.copy_down, stream, dst, src, count, values=0)

    def cudaMemsetAsync(self, devPtr, value, count, stream):
        return self._do("cudaMemsetAsync", self.gpu.clear, stream, devPtr, value, count, values=0)

    def cudaStreamBeginCapture(self, stream, mode):
        return self._do("cudaStreamBeginCapture", self.gpu.begin_capture, stream, values=0)

    def cudaStreamEndCapture(self, stream):
        return self._do("cudaStreamEndCapture", self.gpu.end_capture, stream)

    def cudaGraphInstantiate(self, graph, flags):
        return self._do("cudaGraphInstantiate", self.gpu.instantiate, graph)

    def cudaGraphDestroy(self, graph):
        return self._do("cudaGraphDestroy", self.gpu.end_graph, graph, values=0)

    def cudaGraphLaunch(self, graphExec, stream):
        return self._do("cudaGraphLaunch", self.gpu.launch, graphExec, stream, values=0)

    def cudaGraphExecDestroy(self, graphExec):
        return self._do("cudaGraphExecDestroy", self.gpu.end_graph, graphExec, values=0)

    def cudaEventCreate(self):
        return self._do("cudaEventCreate", self.gpu.new_event)

    def cudaEventDestroy(self, event):
        return self._do("cudaEventDestroy", self.gpu.end_event, event, values=0)

    def cudaEventRecord(self, event, stream):
        return self._do("cudaEventRecord", self.gpu.record, event, stream, values=0)

    def cudaEventElapsedTime(self, start, end):
        return self._do("cudaEventElapsedTime", self.gpu.elapsed_ms, start, end)

    def cudaGetLastError(self):
        return (self.cudaError_t.cudaSuccess,)
