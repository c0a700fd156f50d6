"""One frame's way over the GPU: a stream, an execution context, and the buffers that belong to them.

Inputs are copied into pinned memory, and from there, with the run and the copies of what is wanted back, it
is one queue of work. When the same queue comes a second time it is captured as a CUDA graph, and from the
third time on launched as one. TensorRT cannot be captured where it decides on the host (some loops); then it
stays a queue.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgead_runtime.errors import GpuError, GpuLostError
from edgead_runtime.tensorrt.api import IExecutionContext
from edgead_runtime.tensorrt.arena import Arena, DeviceArray, DeviceBuffer
from edgead_runtime.tensorrt.device import Bytes, HostArray
from edgead_runtime.tensorrt.stream_clock import StreamClock

_MOST_GRAPHS = 8
_MOST_SEEN = 4 * _MOST_GRAPHS
"""Keys that are remembered; detectors that share an encoder have one each. More of them stay a queue."""


@dataclass(frozen=True)
class TensorFacts:
    """An input or output of an engine."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    largest: tuple[int, ...] | None
    """Of an input whose size is open."""


Key = tuple[tuple[tuple[str, tuple[int, ...], int], ...], tuple[str, ...]]
"""What a captured graph has baked in: inputs' shapes, addresses of those that lie on the GPU, and outputs
wanted."""


@dataclass(frozen=True)
class _Captured:
    """A run as a graph."""

    graph: int
    shapes: Mapping[str, tuple[int, ...]]
    """Of the outputs."""


class Lane:
    """For one run at a time. After an error it is closed and not used again."""

    def __init__(self, arena: Arena, context: IExecutionContext, tensors: Sequence[TensorFacts]) -> None:
        self._device = arena.device
        self._arena = arena
        self._context: IExecutionContext | None = context
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._buffers: dict[str, DeviceBuffer] = {}
        self._pinned: dict[str, Bytes] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._graphs: dict[Key, _Captured] = {}
        self._seen: set[Key] = set()
        self._captures = self._device.captures
        self._stream = self._device.new_stream()

    def suits(self, feeds: Mapping[str, HostArray | DeviceArray]) -> bool:
        """Whether its last run was of these shapes, so that nothing has to be made anew."""
        return all(self._shapes.get(name) == tuple(fed.shape) for name, fed in feeds.items())

    def run(
        self,
        feeds: Mapping[str, HostArray | DeviceArray],
        wanted: Sequence[str],
        clock: StreamClock | None = None,
    ) -> dict[str, HostArray]:
        """Run once. ``feeds`` have been checked.

        Args:
            feeds: Every input.
            wanted: Outputs that are to come back.
            clock: Takes the time between the first copy up and the last copy down.

        Raises:
            GpuError: A call failed.
        """
        context = self._context
        if context is None:
            raise GpuError("the engine is closed", "Load the encoder or detector again.")
        key = _key(feeds, wanted)
        captured = self._graphs.get(key)
        if captured is None:
            self._shape_inputs(context, feeds)
            shapes: Mapping[str, tuple[int, ...]] = {
                name: tuple(context.get_tensor_shape(name)) for name in self._outputs()
            }
            self._place(context, feeds, shapes, wanted)
        else:
            shapes = captured.shapes
        from_host = {name: fed for name, fed in feeds.items() if not isinstance(fed, DeviceArray)}
        for name, fed in from_host.items():
            self._staged(name, fed.nbytes)[:] = fed.reshape(-1).view(np.uint8)
        sizes = {name: _nbytes(shapes[name], self._tensors[name].dtype) for name in wanted}

        def queue() -> None:
            for name, fed in from_host.items():
                staged = self._staged(name, fed.nbytes)
                self._device.copy_up(self._buffers[name].address, staged, self._stream)
            if not context.execute_async_v3(self._stream):
                raise GpuError(
                    "TensorRT did not run the engine",
                    "Build the engine again, or run `edgead-runtime doctor`.",
                )
            for name in wanted:
                target = self._staged(name, sizes[name])
                self._device.copy_down(target, self._buffers[name].address, self._stream)

        # None is dropped for another: where there are more keys than graphs, that would capture in every run.
        if captured is None and self._captures and key in self._seen and len(self._graphs) < _MOST_GRAPHS:
            captured = self._capture(key, queue, shapes)
        if clock is not None:
            clock.start(self._stream)
        if captured is not None:
            self._device.launch(captured.graph, self._stream)
        else:
            # The first run of new shapes is never captured: TensorRT allocates in it.
            queue()
            if len(self._seen) < _MOST_SEEN:
                self._seen.add(key)
        if clock is not None:
            clock.stop(self._stream)
        self._device.wait(self._stream)
        return {
            name: self._staged(name, sizes[name]).view(self._tensors[name].dtype).reshape(shapes[name]).copy()
            for name in wanted
        }

    def _capture(
        self, key: Key, queue: Callable[[], None], shapes: Mapping[str, tuple[int, ...]]
    ) -> _Captured | None:
        """The queue as a graph, or ``None`` where TensorRT cannot be captured; it is not asked again then."""
        self._device.begin_capture(self._stream)
        whole = False
        try:
            queue()
            whole = True
        except GpuLostError:
            raise
        except GpuError:
            pass  # done again outside, where an error that is one comes back
        finally:
            # Whatever happened, also Ctrl-C: a stream that is left capturing takes no other work.
            graph = self._device.end_capture(self._stream)
            if graph is not None and not whole:
                self._device.end_graph(graph)
                graph = None
        if graph is None:
            self._captures = False
            return None
        self._graphs[key] = _Captured(graph, shapes)
        return self._graphs[key]

    def _shape_inputs(self, context: IExecutionContext, feeds: Mapping[str, HostArray | DeviceArray]) -> None:
        for name, fed in feeds.items():
            shape = tuple(fed.shape)
            if self._shapes.get(name) == shape:
                continue
            # What was captured holds addresses inside the context, which another shape moves.
            self._drop_graphs()
            if not context.set_input_shape(name, shape):
                raise GpuError(
                    f"TensorRT refuses the shape {list(shape)} of input '{name}'", "Build the engine again."
                )
            self._shapes[name] = shape

    def _place(
        self,
        context: IExecutionContext,
        feeds: Mapping[str, HostArray | DeviceArray],
        shapes: Mapping[str, tuple[int, ...]],
        wanted: Sequence[str],
    ) -> None:
        """Give every tensor its address. Buffers only grow."""
        for name, fed in feeds.items():
            if isinstance(fed, DeviceArray):
                address = fed.address
            else:
                address = self._buffer(name, fed.nbytes).address
                self._staged(name, fed.nbytes)
            context.set_tensor_address(name, address)
        for name, shape in shapes.items():
            size = _nbytes(shape, self._tensors[name].dtype)
            context.set_tensor_address(name, self._buffer(name, size).address)
            if name in wanted:
                self._staged(name, size)

    def _outputs(self) -> list[str]:
        return [tensor.name for tensor in self._tensors.values() if not tensor.is_input]

    def _buffer(self, name: str, size: int) -> DeviceBuffer:
        known = self._buffers.get(name)
        if known is None or known.size < size:
            self._drop_graphs()
            self._buffers[name] = DeviceBuffer(self._arena, size)
        return self._buffers[name]

    def _staged(self, name: str, size: int) -> Bytes:
        known = self._pinned.get(name)
        if known is None or len(known) < size:
            self._drop_graphs()
            fresh = self._device.allocate_pinned(max(size, 1))
            if known is not None:
                self._device.release_pinned(known)
            self._pinned[name] = fresh
        return self._pinned[name][:size]

    def _drop_graphs(self) -> None:
        self._seen.clear()
        while self._graphs:
            self._device.end_graph(self._graphs.popitem()[1].graph)

    def close(self) -> None:
        """Give everything back, as far as the GPU still answers."""
        self._context = None
        with contextlib.suppress(GpuError):
            self._device.wait(self._stream)  # nothing may be copied into memory that is given back
        with contextlib.suppress(GpuError):
            self._drop_graphs()
        for array in self._pinned.values():
            with contextlib.suppress(GpuError):
                self._device.release_pinned(array)
        self._pinned.clear()
        self._buffers.clear()
        with contextlib.suppress(GpuError):
            self._device.end_stream(self._stream)


def _key(feeds: Mapping[str, HostArray | DeviceArray], wanted: Sequence[str]) -> Key:
    inputs = tuple(
        (name, tuple(fed.shape), fed.address if isinstance(fed, DeviceArray) else 0)
        for name, fed in sorted(feeds.items())
    )
    return inputs, tuple(wanted)


def _nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
