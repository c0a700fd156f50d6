"""The simulated GPU finds what it is there to find, and has no name that the real libraries lack."""

import importlib
import inspect
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from edgead_runtime.errors import GpuError
from edgead_runtime.tensorrt.cuda_bindings import CudaBindings
from edgead_runtime.tensorrt.device import DeviceMemory
from simulated_gpu import Misuse, SimulatedGpu, cuda, tensorrt
from simulated_gpu.cuda import SimulatedCudart
from simulated_gpu.machine import Refused, Work

NAMES = Path(__file__).parents[1] / "tensorrt_names"


@pytest.fixture
def gpu():
    return SimulatedGpu(memory=10_000)


def up(gpu, stream, address, array):
    gpu.copy_up(stream, address, array.ctypes.data, array.nbytes)


# -- misuse ------------------------------------------------------------------------------------------------


def test_work_is_done_when_it_is_waited_for(gpu):
    stream, address, target = gpu.new_stream(), gpu.allocate(4), gpu.allocate_pinned(4)
    up(gpu, stream, address, np.arange(4, dtype=np.uint8))
    gpu.copy_down(stream, target, address, 4)
    array = gpu._pinned[target]
    assert array.tolist() == [0xA5] * 4
    gpu.synchronize(stream)
    assert array.tolist() == [0, 1, 2, 3]


def test_memory_that_is_not_there(gpu):
    stream, address = gpu.new_stream(), gpu.allocate(4)
    with pytest.raises(Misuse, match="not, or no longer"):
        up(gpu, stream, address + 1, np.arange(4, dtype=np.uint8))
    gpu.release(address)
    with pytest.raises(Misuse, match="not, or no longer"):
        up(gpu, stream, address, np.arange(4, dtype=np.uint8))
    with pytest.raises(Misuse, match="twice"):
        gpu.release(address)
    with pytest.raises(Misuse, match="0 bytes"):
        gpu.allocate(0)
    with pytest.raises(Refused, match="MemoryAllocation"):
        gpu.allocate(10_001)
    with pytest.raises(Misuse, match="pinned memory was given back twice"):
        gpu.release_pinned(5)


def test_two_streams_at_once(gpu):
    one, other, address = gpu.new_stream(), gpu.new_stream(), gpu.allocate(8)
    up(gpu, one, address, np.arange(4, dtype=np.uint8))
    up(gpu, other, address + 4, np.arange(4, dtype=np.uint8))
    with pytest.raises(Misuse, match="touch the same bytes in two streams"):
        up(gpu, other, address + 3, np.arange(4, dtype=np.uint8))
    gpu.synchronize(one)
    up(gpu, other, address + 3, np.arange(1, dtype=np.uint8))


def test_captures(gpu):
    stream, address = gpu.new_stream(), gpu.allocate(4)
    gpu.begin_capture(stream)
    for forbidden in (lambda: gpu.allocate(4), lambda: gpu.release(address), lambda: gpu.synchronize(stream)):
        with pytest.raises(Misuse):
            forbidden()
    with pytest.raises(Misuse, match="pageable"):
        up(gpu, stream, address, np.arange(4, dtype=np.uint8))
    with pytest.raises(Misuse, match="capture in a capture"):
        gpu.begin_capture(stream)
    gpu.clear(stream, address, 7, 4)
    graph = gpu.instantiate(gpu.end_capture(stream))
    gpu.bytes_at(address, 4)[:] = 0
    for _ in range(2):
        gpu.launch(graph, stream)
        gpu.synchronize(stream)
        assert gpu.bytes_at(address, 4).tolist() == [7] * 4
    gpu.release(address)
    with pytest.raises(Misuse, match="no longer"):
        gpu.launch(graph, stream)
    gpu.end_graph(graph)
    with pytest.raises(Misuse, match="no graph"):
        gpu.launch(graph, stream)
    with pytest.raises(Misuse, match="not begun"):
        gpu.end_capture(stream)


def test_a_graph_of_something_that_changed(gpu):
    stream = gpu.new_stream()
    valid = [True]
    gpu.begin_capture(stream)
    gpu.put(stream, Work("a run", [], [], lambda: None, lambda: valid[0]))
    graph = gpu.end_capture(stream)
    gpu.launch(graph, stream)
    gpu.synchronize(stream)
    valid[0] = False
    gpu.launch(graph, stream)
    with pytest.raises(Misuse, match="captured before something it relies on changed"):
        gpu.synchronize(stream)


def test_events_keep_the_time_at_which_the_gpu_came_to_them(gpu):
    stream, first, last = gpu.new_stream(), gpu.new_event(), gpu.new_event()
    gpu.record(first, stream)
    gpu.put(stream, Work("a nap", [], [], lambda: time.sleep(0.02)))
    gpu.record(last, stream)
    with pytest.raises(Refused, match="NotReady"):
        gpu.elapsed_ms(first, last)
    gpu.synchronize(stream)
    assert gpu.elapsed_ms(first, last) >= 20
    gpu.record(last, stream)
    with pytest.raises(Refused, match="NotReady"):
        gpu.elapsed_ms(first, last)
    gpu.begin_capture(stream)
    with pytest.raises(Misuse, match="keeps time in a capture"):
        gpu.record(first, stream)
    assert gpu.leaks() == ["1 streams", "2 events"]
    gpu.end_event(first)
    with pytest.raises(Misuse, match="given back twice"):
        gpu.end_event(first)
    with pytest.raises(Misuse, match="no event"):
        gpu.record(first, stream)


def test_leaks_are_named(gpu):
    gpu.allocate(4)
    gpu.allocate_pinned(4)
    gpu.new_stream()
    assert gpu.leaks() == ["1 allocations", "1 pinned buffers", "1 streams"]


@pytest.fixture
def context(gpu, sum_model):
    module = tensorrt.SimulatedTensorRt(gpu)
    logger = tensorrt.ILogger()
    builder = module.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert tensorrt.OnnxParser(network, logger).parse(sum_model)
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    return module.Runtime(logger).deserialize_cuda_engine(plan).create_execution_context()


def test_an_engine_without_its_addresses(gpu, context):
    stream = gpu.new_stream()
    with pytest.raises(Misuse, match="no address was given to"):
        context.execute_async_v3(stream)
    for name in ("left", "right", "total"):
        context.set_tensor_address(name, gpu.allocate(16))
    assert context.execute_async_v3(stream)
    context.set_tensor_address("total", gpu.allocate(8))
    with pytest.raises(Misuse, match="16 bytes at"):
        context.execute_async_v3(stream)
    with pytest.raises(Misuse, match="no tensor 'sum'"):
        context.set_tensor_address("sum", 1)


def test_networks_of_10_are_to_be_strongly_typed(gpu):
    with pytest.raises(Misuse, match="not strongly typed"):
        tensorrt.SimulatedTensorRt(gpu).Builder(tensorrt.ILogger()).create_network(0)


# -- names -------------------------------------------------------------------------------------------------


def test_its_tensorrt_has_no_name_that_tensorrt_lacks(gpu):
    module = tensorrt.SimulatedTensorRt(gpu)
    classes = {
        name: value
        for name, value in {**vars(tensorrt), **vars(module)}.items()
        if inspect.isclass(value)
        and value.__module__ == tensorrt.__name__
        and not name.startswith("Simulated")
    }
    assert len(classes) > 20
    for path in NAMES.glob("tensorrt-1*.json"):
        names = json.loads(path.read_text())["names"]
        for name, value in classes.items():
            public = {member for member in vars(value) if not member.startswith("_")}
            if name == "IBuilderConfig":
                public |= {member for member in vars(value()) if not member.startswith("_")}
            if name in ("ILogger", "IProgressMonitor"):
                public -= {"alive"}
            assert public <= set(names[name]), (path.name, name, public - set(names[name]))


def test_its_cuda_is_called_as_cuda_is():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    functions = {name: value for name, value in vars(SimulatedCudart).items() if re.match(r"cuda[A-Z]", name)}
    calls = {name: value for name, value in functions.items() if inspect.isfunction(value)}
    assert len(calls) > 15
    for name, simulated in calls.items():
        arguments = list(inspect.signature(simulated).parameters)[1:]
        real = getattr(runtime, name).__doc__.splitlines()[0]
        given = re.search(r"\((.*?)\)", real)[1]
        assert len(arguments) == len([entry for entry in given.split(",") if entry.strip()]), (name, real)
    assert {error.name for error in SimulatedCudart.cudaError_t} <= set(runtime.cudaError_t.__members__)
    for kind in (cuda.cudaMemcpyKind, cuda.cudaStreamCaptureMode):
        assert set(kind.__members__) <= set(getattr(runtime, kind.__name__).__members__)
    assert runtime.cudaStreamNonBlocking == SimulatedCudart.cudaStreamNonBlocking


def test_errors_that_mean_the_gpu_is_lost_are_cudas():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    device = importlib.import_module("edgead_runtime.tensorrt.device")
    assert {*device.LOST, device.OUT_OF_MEMORY} <= set(runtime.cudaError_t.__members__)


def test_every_call_of_ours_is_one_that_cuda_bindings_takes():
    """Without a driver each gets as far as CUDA, which refuses it: names and types of arguments are right."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    code, _ = runtime.cudaGetDeviceCount()
    if code == runtime.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU, and made-up addresses would end the process")
    device, array = CudaBindings(runtime), np.zeros(8, np.uint8)
    calls = {
        "facts": (),
        "free_bytes": (),
        "allocate": (8,),
        "release": (4096,),
        "allocate_pinned": (8,),
        "release_pinned": (array,),
        "new_stream": (),
        "end_stream": (16,),
        "wait": (16,),
        "copy_up": (4096, array, 16),
        "copy_down": (array, 4096, 16),
        "clear": (4096, 8, 16),
        "begin_capture": (16,),
        "end_capture": (16,),
        "launch": (16, 16),
        "end_graph": (16,),
        "new_event": (),
        "end_event": (16,),
        "record": (16, 16),
        "elapsed_ms": (16, 16),
    }
    methods = {
        name for name, value in vars(DeviceMemory).items() if inspect.isfunction(value) and name[0] != "_"
    }
    assert set(calls) == methods
    for name, arguments in calls.items():
        with pytest.raises(GpuError, match=r"cudaErrorInsufficientDriver|cudaErrorNoDevice"):
            getattr(device, name)(*arguments)
    for call in (("cudaGraphInstantiate", 16, 0), ("cudaGraphDestroy", 16)):
        with pytest.raises(GpuError):
            device._call(*call)
    facts = {"name", "major", "minor", "totalGlobalMem", "integrated"}
    assert facts <= set(dir(runtime.cudaDeviceProp))
