"""Arrays on the GPU that give their memory back, and uploads that copy only what is new."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.errors import GpuError
from edgead_runtime.tensorrt.device import DeviceMemory, HostArray

_MOST_ROOM = 4
"""How many times an array's size its place on the GPU may have from the start; banks grow by doubling."""


class DeviceBuffer:
    """Bytes on the GPU, given back when nobody holds this any more."""

    def __init__(self, arena: Arena, size: int) -> None:
        self.size = size
        self.address = arena.allocate(size)
        weakref.finalize(self, arena.forget, self.address)


class _Mirror:
    """A host array on the GPU, of which the first bytes have been copied."""

    def __init__(self, host: NDArray[Any], buffer: DeviceBuffer) -> None:
        self.host = host  # held, so that no other array takes its place under the same id
        self.buffer = buffer
        self.copied = 0


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """A contiguous array on the GPU. What it shows never changes."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    holds: object = None
    """Whatever keeps the memory alive."""


class Arena:
    """Allocations of one engine, and its own stream for uploads.

    Memory is given back when the engine is next used and not at the moment that the last holder goes: that
    may happen in the middle of another call's graph capture, which forbids it.
    """

    def __init__(self, device: DeviceMemory) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._unused: deque[int] = deque()
        self._closed = False
        self._mirrors: weakref.WeakValueDictionary[int, _Mirror] = weakref.WeakValueDictionary()
        self._stream = device.new_stream()

    def allocate(self, size: int) -> int:
        """Bytes on the GPU. What is no longer used is given back first.

        Raises:
            GpuMemoryError: There are not as many.
        """
        self.tidy()
        return self.device.allocate(max(size, 1))

    def forget(self, address: int) -> None:
        """Nobody holds it any more. May be called at any moment, from any thread."""
        self._unused.append(address)
        if self._closed:
            self.tidy()

    def tidy(self) -> None:
        """Give back what nobody holds."""
        while True:
            try:
                address = self._unused.popleft()
            except IndexError:
                return
            try:
                self.device.release(address)
            except GpuError:
                if not self._closed:
                    raise  # while closing, a GPU that is lost has taken its memory along

    def upload(self, array: HostArray) -> DeviceArray:
        """Copy an array to the GPU, and of one that continues an earlier one only what is new.

        An array may be the first part of a larger one (a bank that has room to grow). The larger one then has
        a place of its size on the GPU, and as long as an earlier part of it is held by somebody, who relies
        on it not to change, that part is there already.

        Raises:
            GpuMemoryError: The GPU's memory is used up.
        """
        array = np.ascontiguousarray(array)
        with self._lock:
            whole = _whole_of(array)
            mirror = self._mirrors.get(id(whole))
            if mirror is None and whole.nbytes > _MOST_ROOM * array.nbytes:
                whole = array  # a small part of something large is taken by itself
                mirror = self._mirrors.get(id(whole))
            if mirror is None:
                mirror = _Mirror(whole, DeviceBuffer(self, whole.nbytes))
                self._mirrors[id(whole)] = mirror
                # What is not filled yet is never read, but numbers that are not finite would be worse than
                # zeros.
                self.device.clear(mirror.buffer.address, whole.nbytes, self._stream)
            if mirror.copied < array.nbytes:
                fresh = array.reshape(-1).view(np.uint8)[mirror.copied :]
                self.device.copy_up(mirror.buffer.address + mirror.copied, fresh, self._stream)
                self.device.wait(self._stream)
                mirror.copied = array.nbytes
            return DeviceArray(mirror.buffer.address, array.shape, array.dtype, holds=mirror)

    def close(self) -> None:
        """End the stream. Arrays that somebody still holds stay until they are let go."""
        self._closed = True
        self.tidy()
        with contextlib.suppress(GpuError):
            self.device.end_stream(self._stream)


def _whole_of(array: HostArray) -> HostArray:
    """The array that this one is the first part of, or itself."""
    base = array.base
    if (
        isinstance(base, np.ndarray)
        and base.flags.c_contiguous
        and base.dtype == array.dtype
        and base.ctypes.data == array.ctypes.data
        and base.nbytes >= array.nbytes
    ):
        return base
    return array
