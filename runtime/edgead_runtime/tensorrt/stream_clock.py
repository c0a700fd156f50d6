"""How long a stream takes for a piece of work, on the GPU's own clock."""

from __future__ import annotations

import contextlib
from types import TracebackType

from edgead_runtime.errors import GpuError
from edgead_runtime.tensorrt.device import DeviceMemory


class StreamClock:
    """Two of CUDA's events in one stream. A context manager.

    What the host does before it has queued the work, and after, is in no figure; what it does in between is,
    where the GPU has to wait for it. A run that is captured as a graph has next to none.
    """

    def __init__(self, device: DeviceMemory) -> None:
        self._device = device
        self._events: list[int] = []

    def __enter__(self) -> StreamClock:
        for _ in range(2):
            self._events.append(self._device.new_event())
        return self

    def start(self, stream: int) -> None:
        """Queue the first mark."""
        self._device.record(self._events[0], stream)

    def stop(self, stream: int) -> None:
        """Queue the second."""
        self._device.record(self._events[1], stream)

    def ms(self) -> float:
        """Milliseconds between the two; the stream has been waited for.

        Raises:
            GpuError: It has not.
        """
        return self._device.elapsed_ms(*self._events)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._events:
            with contextlib.suppress(GpuError):  # a GPU that is lost has taken them along
                self._device.end_event(self._events.pop())
