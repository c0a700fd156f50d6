"""CUDA itself, where there is a GPU and CuPy: memory, uploads, frames and captured graphs, without TensorRT.

One kernel of CuPy's stands in for an engine. Skipped where there is no GPU.
"""

import gc

import numpy as np
import pytest
from edgead_runtime.errors import EngineUnavailableError, GpuMemoryError
from edgead_runtime.tensorrt.arena import Arena
from edgead_runtime.tensorrt.device import open_device
from edgead_runtime.tensorrt.lane import Lane, TensorFacts
from edgead_runtime.tensorrt.on_device import as_device_array, is_on_device

pytestmark = pytest.mark.gpu
SIZE = 64


@pytest.fixture
def device():
    pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        return open_device()
    except EngineUnavailableError as error:
        pytest.skip(error.problem)


class Kernel:
    """``total = left + right``, as TensorRT's execution context would be asked for it."""

    def __init__(self):
        import cupy

        code = 'extern "C" __global__ void add(const float* x, const float* y, float* z)'
        self.kernel = cupy.RawKernel(code + "{ int i = threadIdx.x; z[i] = x[i] + y[i]; }", "add")
        self.stream_of, self.places, self.runs = cupy.cuda.ExternalStream, {}, 0

    def set_input_shape(self, name, shape):
        return True

    def get_tensor_shape(self, name):
        return (SIZE,)

    def set_tensor_address(self, name, memory):
        self.places[name] = np.uint64(memory)
        return True

    def execute_async_v3(self, stream_handle):
        self.runs += 1
        arguments = tuple(self.places[name] for name in ("left", "right", "total"))
        with self.stream_of(stream_handle):
            self.kernel((1,), (SIZE,), arguments)
        return True


@pytest.fixture
def lane(device):
    arena, kernel = Arena(device), Kernel()
    facts = [
        TensorFacts(name, name != "total", np.dtype(np.float32), None) for name in ("left", "right", "total")
    ]
    lane = Lane(arena, kernel, facts)
    yield lane, arena, kernel
    lane.close()
    arena.close()


def test_what_gpu_it_is(device):
    facts = device.facts()
    print(facts)
    assert facts.sm >= 70
    assert facts.name
    assert float(facts.driver) >= 12
    assert 0 < device.free_bytes() <= facts.memory_bytes


def test_uploads_copy_what_is_new(device):
    arena = Arena(device)
    whole = np.arange(4 * SIZE, dtype=np.float32)
    first = arena.upload(whole[:SIZE])
    longer = arena.upload(whole[: 3 * SIZE])
    assert first.address == longer.address
    back, stream = np.empty(3 * SIZE, np.float32), device.new_stream()
    device.copy_down(back, longer.address, stream)
    device.wait(stream)
    assert np.array_equal(back, whole[: 3 * SIZE])
    device.end_stream(stream)
    del first, longer
    gc.collect()
    arena.close()


def test_a_run_is_queued_then_captured_then_launched(lane):
    lane, arena, kernel = lane
    random = np.random.default_rng(0)
    right = random.standard_normal(SIZE).astype(np.float32)
    uploaded = arena.upload(right)
    for turn in range(6):
        left = random.standard_normal(SIZE).astype(np.float32)
        found = lane.run({"left": left, "right": uploaded}, ["total"])["total"]
        assert np.array_equal(found, left + right), turn
    assert len(lane._graphs) == 1
    assert kernel.runs == 2  # queued once, captured once; then the graph alone


def test_arrays_of_other_libraries(lane, device):
    import cupy

    lane, _, _ = lane
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class OnlyDlpack:
        def __init__(self, array):
            self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__

    left = np.linspace(0, 1, SIZE, dtype=np.float32)
    on_gpu = [cupy.arange(SIZE, dtype=cupy.float32), torch.arange(SIZE, dtype=torch.float32, device="cuda")]
    on_gpu += [OnlyDlpack(array) for array in on_gpu]
    for array in on_gpu:
        assert is_on_device(array)
        taken = as_device_array(array, device)
        for _ in range(4):
            found = lane.run({"left": left, "right": taken}, ["total"])["total"]
            assert np.array_equal(found, left + np.arange(SIZE, dtype=np.float32))
    assert not is_on_device(torch.arange(3))


def test_more_than_there_is(device):
    with pytest.raises(GpuMemoryError, match="memory is used up"):
        device.allocate(1 << 50)
    address = device.allocate(1 << 20)  # and it goes on
    device.release(address)
