"""A TensorRT plan as an engine.

Every line of the way over the GPU runs in the tests on a simulated device. Not run: on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from edgead_runtime import frame_graph
from edgead_runtime.engines.protocol import Array, Uploaded
from edgead_runtime.errors import (
    BundleError,
    EngineUnavailableError,
    GpuMemoryError,
    PictureError,
)
from edgead_runtime.tensorrt.api import Flavour, ICudaEngine, TensorRT
from edgead_runtime.tensorrt.arena import Arena, DeviceArray
from edgead_runtime.tensorrt.device import DeviceMemory
from edgead_runtime.tensorrt.lane import Lane, TensorFacts
from edgead_runtime.tensorrt.logging import Messages, make_logger
from edgead_runtime.tensorrt.on_device import as_device_array
from edgead_runtime.tensorrt.record import EngineRecord
from edgead_runtime.tensorrt.stream_clock import StreamClock

_LANES = 2
"""Runs at a time: the copies of one then go on beside the computing of another. Each has activations of its
own; a second one is made when two threads meet, or when inputs of two sizes take turns (banks of two
detectors, or frames and good parts), since TensorRT's plans and the captured graph hold for one size."""
_DTYPES: dict[str, np.dtype[Any]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


class TensorRtEngine:
    """One plan on the GPU. ``run`` may be called from several threads."""

    def __init__(
        self, trt: TensorRT, flavour: Flavour, device: DeviceMemory, plan: bytes, record: EngineRecord
    ) -> None:
        self._messages = Messages.latest()
        self._logger = make_logger(trt, self._messages)
        runtime = trt.Runtime(self._logger)
        if record.options.version_compatible:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BundleError(
                f"TensorRT does not load the engine ({self._messages.last_error()})",
                f"Build it again: {record.rebuild}",
            )
        self.record = record
        self.name = f"{flavour.name}/cuda/{record.precision}"
        self._runtime = runtime  # an engine must not outlive its runtime, nor that its logger
        self._engine: ICudaEngine | None = engine
        self._tensors = _tensors_of(trt, engine)
        self._outputs = [tensor.name for tensor in self._tensors if not tensor.is_input]
        self._arena = Arena(device)
        self._slots = threading.Semaphore(_LANES)
        self._lock = threading.Lock()
        self._idle: list[Lane] = []
        self._made = 0

    def upload(self, array: Array) -> Uploaded:
        """Put an array on the GPU.

        The first part of a larger array, of which an earlier part is still in use, is not copied again:
        adding to a bank copies what was added.

        Raises:
            GpuMemoryError: The GPU's memory is used up.
        """
        if self._engine is None:
            raise _closed()
        return Uploaded(self._arena.upload(array))

    def adopt(self, value: object, shape: tuple[int, ...] | None = None) -> Uploaded:
        """See :class:`edgead_runtime.engines.protocol.TakesDeviceArrays`."""
        if self._engine is None:
            raise _closed()
        known = value.native if isinstance(value, Uploaded) else None
        array = as_device_array(value, self._arena.device) if known is None else known
        if not isinstance(array, DeviceArray):
            raise PictureError("the array is not on a GPU", "Give it to run as it is.")
        return Uploaded(array if shape is None else replace(array, shape=shape))

    def run(
        self, feeds: Mapping[str, Array | Uploaded], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run once; returns the outputs asked for, or all, by name.

        What was asked for comes back to the host, and nothing else does. An input may lie on the GPU already:
        what :meth:`upload` gave, or any array with ``__cuda_array_interface__``.

        Raises:
            GpuError: A call of the GPU failed.
            EngineUnavailableError: The engine is closed, or is not made for inputs of this shape.
        """
        wanted = self._outputs if outputs is None else list(outputs)
        checked = self._check(feeds)
        with self._lane(checked) as lane:
            return lane.run(checked, wanted)

    def time_run(self, feeds: Mapping[str, Array | Uploaded], outputs: Sequence[str] = ()) -> float:
        """Run once; milliseconds on the GPU, by CUDA's events, from the first copy up to the last copy down.

        With every input uploaded and no output wanted that is the computing alone. The first two runs of new
        inputs are slower: nothing is captured yet.

        Raises:
            GpuError: A call of the GPU failed.
            EngineUnavailableError: The engine is closed, or is not made for inputs of this shape.
        """
        checked = self._check(feeds)
        with StreamClock(self._arena.device) as clock, self._lane(checked) as lane:
            lane.run(checked, list(outputs), clock)
            return clock.ms()

    @contextmanager
    def _lane(self, feeds: Mapping[str, Array | DeviceArray]) -> Iterator[Lane]:
        with self._slots:
            lane = self._take_lane(feeds)
            try:
                yield lane
            except BaseException:
                with self._lock:
                    self._made -= 1
                lane.close()  # whatever it was in the middle of, it is not gone on with
                raise
            self._give_back(lane)

    def _take_lane(self, feeds: Mapping[str, Array | DeviceArray]) -> Lane:
        """One that was last used for such inputs, else a new one, else the one that was idle longest."""
        with self._lock:
            if self._engine is None:
                raise _closed()
            for lane in self._idle:
                if lane.suits(feeds):
                    self._idle.remove(lane)
                    return lane
            if self._made < _LANES:
                try:
                    return self._new_lane(self._engine)
                except GpuMemoryError:
                    if not self._idle:
                        raise
            return self._idle.pop(0)

    def _new_lane(self, engine: ICudaEngine) -> Lane:
        context = engine.create_execution_context()
        if context is None:
            raise GpuMemoryError(
                f"TensorRT has no room to run the engine ({self._messages.last_error()})",
                "Close what else uses the GPU, or build with a smaller bank or batch.",
            )
        lane = Lane(self._arena, context, self._tensors)
        self._made += 1
        return lane

    def _give_back(self, lane: Lane) -> None:
        with self._lock:
            if self._engine is not None:
                self._idle.append(lane)
                return
        lane.close()  # it was in use while the engine was closed

    def _check(self, feeds: Mapping[str, Any]) -> dict[str, Array | DeviceArray]:
        """Every input of the engine, in its type, contiguous."""
        checked: dict[str, Array | DeviceArray] = {}
        for tensor in self._tensors:
            if not tensor.is_input:
                continue
            fed = feeds[tensor.name]
            value = fed.native if isinstance(fed, Uploaded) else as_device_array(fed, self._arena.device)
            if value.dtype != tensor.dtype:
                raise PictureError(
                    f"input '{tensor.name}' is {value.dtype}, the engine takes {tensor.dtype}",
                    "Give it what its graph says.",
                )
            self._check_size(tensor, value.shape)
            checked[tensor.name] = value
        return checked

    def check_size(self, name: str, shape: tuple[int, ...]) -> None:
        """See :class:`edgead_runtime.engines.protocol.TakesSoMuch`."""
        for tensor in self._tensors:
            if tensor.name == name:
                self._check_size(tensor, shape)

    def _check_size(self, tensor: TensorFacts, shape: tuple[int, ...]) -> None:
        if tensor.largest is not None and _exceeds(shape, tensor.largest):
            raise EngineUnavailableError(
                f"input '{tensor.name}' is {list(shape)}, the engine was built for up to "
                f"{list(tensor.largest)}",
                f"Build it for more: {self.record.rebuild} {_for_more(tensor.name, shape)}".rstrip(),
            )

    def close(self) -> None:
        """Release the engine. What was uploaded stays until nobody holds it."""
        with self._lock:
            if self._engine is None:
                return
            self._engine = None
            while self._idle:
                self._idle.pop().close()
        self._arena.close()

    def __enter__(self) -> TensorRtEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tensors_of(trt: TensorRT, engine: ICudaEngine) -> list[TensorFacts]:
    tensors = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        kind = engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise BundleError(
                f"the engine's '{name}' is {kind}, which NumPy has no type for",
                "Export the encoder again with float32 or float16 outputs.",
            )
        is_open = is_input and min(engine.get_tensor_shape(name), default=0) < 0
        largest = tuple(engine.get_tensor_profile_shape(name, 0)[2]) if is_open else None
        tensors.append(TensorFacts(name, is_input, _DTYPES[kind], largest))
    return tensors


def _exceeds(shape: tuple[int, ...], largest: tuple[int, ...]) -> bool:
    return len(shape) != len(largest) or any(size > most for size, most in zip(shape, largest, strict=True))


def _for_more(name: str, shape: tuple[int, ...]) -> str:
    """What to type behind the command that built an engine, of whose options the last one counts."""
    if name in (frame_graph.BANK, frame_graph.BANK_BIAS):
        return f"--bank-blocks {shape[0]} {2 * shape[0]}"
    if name in (frame_graph.MAP_DOWN, frame_graph.MAP_ACROSS):
        return f"--map-hw {shape[0]} {shape[0]}"
    return f"--batch 1 {shape[0]} {shape[0]}" if shape else ""


def _closed() -> EngineUnavailableError:
    return EngineUnavailableError("the engine is closed", "Load the encoder or detector again.")
