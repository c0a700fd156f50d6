"""What is used of TensorRT: names that are the same in 10.3 to 11.4 and in TensorRT for RTX.

The classes are TensorRT's own, seen through protocols: the type checker refuses a name that is not written
here, and ``tests/runtime/test_tensorrt_names.py`` refuses one here that a supported release does not have.
Numbers of enumerations moved in 11: they are always looked up by name.
"""
# ruff: noqa: D102  (each is described in TensorRT's own reference)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, Protocol, cast

from edgead_runtime.errors import EngineUnavailableError

FlavourName = Literal["tensorrt", "tensorrt-rtx"]
Shape = Sequence[int]


class IHostMemory(Protocol):
    """Serialized bytes."""

    nbytes: int


class ITensor(Protocol):
    """An input or output of a network."""

    name: str
    shape: Shape
    dtype: Any


class INetworkDefinition(Protocol):
    """What a parser fills."""

    num_inputs: int
    num_outputs: int

    def get_input(self, index: int) -> ITensor: ...
    def get_output(self, index: int) -> ITensor: ...


class IOptimizationProfile(Protocol):
    """Least, usual and largest shapes of inputs that are not of one shape."""

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None: ...  # noqa: A002


class ITimingCache(Protocol):
    """How long kernels took, so that the next build need not measure them again."""

    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    """How to build."""

    builder_optimization_level: int
    hardware_compatibility_level: Any
    profiling_verbosity: Any
    progress_monitor: Any

    def set_flag(self, flag: Any) -> None: ...
    def clear_flag(self, flag: Any) -> None: ...
    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...
    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> ITimingCache | None: ...


class RtxBuilderConfig(IBuilderConfig, Protocol):
    """What only TensorRT for RTX has."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool: ...


class Builder(Protocol):
    """Makes plans."""

    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None: ...


class ParserError(Protocol):
    """Why a node was not understood."""

    def node_operator(self) -> str: ...
    def node_name(self) -> str: ...
    def desc(self) -> str: ...


class OnnxParser(Protocol):
    """Reads ONNX."""

    num_errors: int

    def parse(self, model: bytes) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IExecutionContext(Protocol):
    """One engine at work; not for two threads at a time."""

    def set_input_shape(self, name: str, shape: Shape) -> bool: ...
    def get_tensor_shape(self, name: str) -> Shape: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class ICudaEngine(Protocol):
    """A plan that was loaded."""

    num_io_tensors: int
    device_memory_size_v2: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Any: ...
    def get_tensor_dtype(self, name: str) -> Any: ...
    def get_tensor_shape(self, name: str) -> Shape: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Shape]: ...
    def create_execution_context(self) -> IExecutionContext | None: ...


class Runtime(Protocol):
    """Loads plans."""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None: ...


class TensorRT(Protocol):
    """The module."""

    __version__: str
    BuilderFlag: Any
    HardwareCompatibilityLevel: Any
    ILogger: Any
    IProgressMonitor: Any
    MemoryPoolType: Any
    NetworkDefinitionCreationFlag: Any
    ProfilingVerbosity: Any
    TensorIOMode: Any

    def Builder(self, logger: Any) -> Builder: ...  # noqa: N802
    def OnnxParser(self, network: INetworkDefinition, logger: Any) -> OnnxParser: ...  # noqa: N802
    def Runtime(self, logger: Any) -> Runtime: ...  # noqa: N802


class TensorRTForRTX(TensorRT, Protocol):
    """What only TensorRT for RTX has."""

    ComputeCapability: Any


@dataclass(frozen=True)
class Flavour:
    """One of the two TensorRTs."""

    name: FlavourName
    module: str
    install: str
    ahead_of_time: bool
    """Engines are built for named GPU generations on any machine, and not for the GPU that is here."""


FLAVOURS: dict[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour(
            "tensorrt",
            "tensorrt",
            "On a Jetson it comes with JetPack (a virtual environment needs --system-site-packages); "
            "elsewhere: pip install tensorrt",
            ahead_of_time=False,
        ),
        Flavour(
            "tensorrt-rtx",
            "tensorrt_rtx",
            'pip install "edgead-runtime[tensorrt-rtx]"',
            ahead_of_time=True,
        ),
    )
}


def load(flavour: Flavour) -> TensorRT:
    """Import TensorRT.

    Raises:
        EngineUnavailableError: It is not installed, or does not load.
    """
    if find_spec(flavour.module) is None:
        raise EngineUnavailableError(f"{flavour.module} is not installed", f"{flavour.install}.")
    try:
        return cast(TensorRT, import_module(flavour.module))
    except (ImportError, OSError, RuntimeError) as error:
        # The bindings are there and the libraries are not, or are of another CUDA.
        raise EngineUnavailableError(
            f"{flavour.module} is installed but does not load ({error})", f"{flavour.install}."
        ) from error
