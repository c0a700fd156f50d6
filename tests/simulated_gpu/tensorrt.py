"""TensorRT as far as edgead uses it, on the simulated GPU: an engine runs its ONNX file in ONNX Runtime.

``test_simulated_gpu.py`` holds its names against those of NVIDIA's bindings.
"""

import enum
import importlib.machinery
import json
import types

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from simulated_gpu.machine import Misuse, SimulatedGpu, Work

MAGIC = b"a simulated plan\n"
_KINDS = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
}
_NUMPY = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
UNKNOWN_OPERATORS = {"Det", "NonZero"}


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT32 = 3
    INT64 = 8
    UINT8 = 5
    BOOL = 4


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class BuilderFlag(enum.Enum):
    TF32 = 7
    VERSION_COMPATIBLE = 13


class HardwareCompatibilityLevel(enum.Enum):
    NONE = 0
    AMPERE_PLUS = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 1


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self):
        self.alive = True


class IProgressMonitor:
    def __init__(self):
        self.alive = True


class IHostMemory(bytes):
    @property
    def nbytes(self):
        return len(self)


class ITensor:
    def __init__(self, value):
        kind = value.type.tensor_type
        self.name = value.name
        self.shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
        self.dtype = DataType[_KINDS[kind.elem_type]]


class INetworkDefinition:
    def __init__(self):
        self._model = None

    def _inputs(self):
        constants = {entry.name for entry in self._model.graph.initializer}
        return [ITensor(value) for value in self._model.graph.input if value.name not in constants]

    @property
    def num_inputs(self):
        return len(self._inputs())

    @property
    def num_outputs(self):
        return len(self._model.graph.output)

    def get_input(self, index):
        return self._inputs()[index]

    def get_output(self, index):
        return ITensor(self._model.graph.output[index])


class ParserError:
    def __init__(self, node):
        self._node = node

    def node_operator(self):
        return self._node.op_type

    def node_name(self):
        return self._node.name

    def desc(self):
        return "Unsupported operator\nand more of it"


class OnnxParser:
    def __init__(self, network, logger):
        _require(isinstance(logger, ILogger) and logger.alive, "a logger that was not initialized")
        self._network, self._unknown = network, []

    @property
    def num_errors(self):
        return len(self._unknown)

    def parse(self, model):
        try:
            self._network._model = onnx.load_from_string(model)
        except Exception:  # noqa: BLE001  (whatever protobuf says)
            return False
        self._unknown = [
            node for node in self._network._model.graph.node if node.op_type in UNKNOWN_OPERATORS
        ]
        return not self._unknown

    def get_error(self, index):
        return ParserError(self._unknown[index])


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):  # noqa: A002
        _require(all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)), "a profile upside down")
        self._shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache:
    def __init__(self, data):
        self._data = data

    def serialize(self):
        return IHostMemory(self._data + b"t")


class IBuilderConfig:
    def __init__(self):
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor = None
        self._flags = {BuilderFlag.TF32}
        self._pools = {}
        self._profiles = []
        self._times = None

    def set_flag(self, flag):
        self._flags.add(BuilderFlag(flag))

    def clear_flag(self, flag):
        self._flags.discard(BuilderFlag(flag))

    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[MemoryPoolType(pool)] = pool_size

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache, ignore_mismatch):
        self._times = cache
        return True

    def get_timing_cache(self):
        return self._times


def _require(truth, what):
    if not truth:
        raise Misuse(what)


class SimulatedTensorRt(types.ModuleType):
    """The module ``tensorrt`` of a version, for a GPU."""

    BuilderFlag, DataType, MemoryPoolType = BuilderFlag, DataType, MemoryPoolType
    HardwareCompatibilityLevel, ProfilingVerbosity = HardwareCompatibilityLevel, ProfilingVerbosity
    NetworkDefinitionCreationFlag, TensorIOMode = NetworkDefinitionCreationFlag, TensorIOMode
    ILogger, IProgressMonitor, OnnxParser = ILogger, IProgressMonitor, OnnxParser

    def __init__(self, gpu: SimulatedGpu, version="10.3.0", contexts=8):
        super().__init__("tensorrt")
        self.__version__ = version
        self.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
        self.gpu = gpu
        self.contexts_left = contexts
        """Execution contexts that there is room for."""
        self.configs = []
        """Of every build, for a test to look at."""
        module = self

        class Builder:
            def __init__(self, logger):
                _require(isinstance(logger, ILogger) and logger.alive, "a logger that was not initialized")
                self._logger = logger

            def create_network(self, flags):
                if version.startswith("10."):
                    wanted = 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
                    _require(flags == wanted, "a network that is not strongly typed")
                return INetworkDefinition()

            def create_builder_config(self):
                module.configs.append(IBuilderConfig())
                return module.configs[-1]

            def create_optimization_profile(self):
                return IOptimizationProfile()

            def build_serialized_network(self, network, config):
                return module._build(self._logger, network, config)

        class Runtime:
            def __init__(self, logger):
                _require(isinstance(logger, ILogger) and logger.alive, "a logger that was not initialized")
                self._logger = logger
                self.engine_host_code_allowed = False

            def deserialize_cuda_engine(self, serialized_engine):
                return module._load(self._logger, self, serialized_engine)

        self.Builder, self.Runtime = Builder, Runtime

    def _build(self, logger, network, config):
        monitor = config.progress_monitor
        if monitor is not None:
            try:
                monitor.phase_start("Building engine", None, 2)
                goes_on = monitor.step_complete("Building engine", 0)
            except BaseException as error:
                raise Misuse("an exception in a progress monitor, which ends the process") from error
            if not goes_on:
                logger.log(ILogger.Severity.ERROR, "the build was cancelled")
                return None
        shapes = config._profiles[0]._shapes if config._profiles else {}
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if -1 in tensor.shape and tensor.name not in shapes:
                logger.log(ILogger.Severity.ERROR, f"no profile for {tensor.name}\nsecond line")
                return None
        if monitor is not None:
            monitor.phase_finish("Building engine")
        head = {
            "version": self.__version__,
            "sm": self.gpu.sm,
            "shapes": shapes,
            "lasting": BuilderFlag.VERSION_COMPATIBLE in config._flags,
        }
        model = network._model.SerializeToString()
        return IHostMemory(MAGIC + json.dumps(head).encode() + b"\n" + model)

    def _load(self, logger, runtime, data):
        magic, head, model = bytes(data).split(b"\n", 2)
        head = json.loads(head) if magic + b"\n" == MAGIC else {}
        if head.get("version") != self.__version__ and not (
            head.get("lasting") and runtime.engine_host_code_allowed
        ):
            logger.log(ILogger.Severity.ERROR, "Version tag does not match")
            return None
        return ICudaEngine(self, head, onnx.load_from_string(model), model)


class ICudaEngine:
    device_memory_size_v2 = 1 << 20

    def __init__(self, module, head, model, data):
        network = INetworkDefinition()
        network._model = model
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        self._module, self._shapes = module, head["shapes"]
        self._tensors = {tensor.name: tensor for tensor in (*inputs, *outputs)}
        self._inputs = [tensor.name for tensor in inputs]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return self._tensors[name].dtype

    def get_tensor_shape(self, name):
        return self._tensors[name].shape

    def get_tensor_profile_shape(self, name, profile_index):
        _require(profile_index == 0, "there is one profile")
        fixed = list(self._tensors[name].shape)
        return self._shapes.get(name, [fixed, fixed, fixed])

    def create_execution_context(self):
        if self._module.contexts_left == 0:
            return None
        self._module.contexts_left -= 1
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine):
        self._engine, self._gpu = engine, engine._module.gpu
        self._shapes = {name: engine.get_tensor_shape(name) for name in engine._inputs}
        self._addresses = {}
        self._moved = 0
        self._ran_with = None
        self._known_shapes = {}

    def __del__(self):
        self._engine._module.contexts_left += 1

    def set_input_shape(self, name, shape):
        _require(name in self._engine._inputs, f"'{name}' is no input")
        least, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        shape = tuple(shape)
        if len(shape) != len(least) or any(
            not a <= size <= b for a, size, b in zip(least, shape, largest, strict=True)
        ):
            return False
        if shape != self._shapes[name]:
            self._shapes[name] = shape
            self._moved += 1
        return True

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return self._shapes[name]
        open_inputs = [known for known, shape in self._shapes.items() if -1 in shape]
        _require(not open_inputs, f"the shape of '{name}' is asked for before that of {open_inputs}")
        key = tuple(self._shapes.items())
        if key not in self._known_shapes:
            zeros = {known: np.zeros(shape, self._dtype(known)) for known, shape in self._shapes.items()}
            self._known_shapes[key] = {known: value.shape for known, value in self._run(zeros).items()}
        return self._known_shapes[key][name]

    def _dtype(self, name):
        return np.dtype(_NUMPY[self._engine.get_tensor_dtype(name).name])

    def _run(self, feeds):
        session = self._engine._session
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))

    def set_tensor_address(self, name, memory):
        _require(name in self._engine._tensors, f"there is no tensor '{name}'")
        _require(isinstance(memory, int) and memory > 0, f"'{name}' is put at {memory}")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        gpu = self._gpu
        missing = [name for name in self._engine._tensors if name not in self._addresses]
        _require(not missing, f"no address was given to {missing}")
        shapes = {name: tuple(self.get_tensor_shape(name)) for name in self._engine._tensors}
        if gpu.is_capturing(stream_handle) and (not gpu.can_capture or self._ran_with != shapes):
            gpu.invalidate_capture(stream_handle, "TensorRT synchronizes or allocates")
            return False
        self._ran_with = shapes
        dtypes = {name: self._dtype(name) for name in shapes}
        places = {
            name: (self._addresses[name], int(np.prod(shape, dtype=np.int64)) * dtypes[name].itemsize)
            for name, shape in shapes.items()
        }
        moved = self._moved

        def do():
            feeds = {
                name: gpu.bytes_at(*places[name]).view(dtypes[name]).reshape(shapes[name]).copy()
                for name in self._engine._inputs
            }
            for name, value in self._run(feeds).items():
                same = value.shape == shapes[name] and value.dtype == dtypes[name]
                _require(same, f"'{name}' came out otherwise")
                gpu.bytes_at(*places[name])[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)

        inputs = self._engine._inputs
        gpu.put(
            stream_handle,
            Work(
                "running an engine",
                [places[name] for name in inputs],
                [place for name, place in places.items() if name not in inputs],
                do,
                lambda: self._moved == moved,
            ),
        )
        return True
