"""Memory, streams, graphs and failures of the simulated GPU."""

import ctypes
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_FIRST_ADDRESS = 0x7000_0000_0000
_DEFAULT_STREAMS = (1, 2)
_GAP = 1 << 20
"""Between two allocations, so that a step past the end of one never lands in another."""
Range = tuple[int, int]
"""Address and bytes."""


class Misuse(AssertionError):
    """Something that CUDA or TensorRT leaves undefined. Never an error of the GPU's."""


class Refused(Exception):
    """What a call answers instead of doing it: the name of a CUDA error."""


@dataclass
class Work:
    """Something for the GPU to do."""

    what: str
    reads: list[Range]
    writes: list[Range]
    do: Callable[[], None]
    still_valid: Callable[[], bool] = lambda: True


@dataclass
class Stream:
    pending: deque = field(default_factory=deque)
    captured: list | None = None
    capturing_thread: int | None = None
    invalid: str = ""


class SimulatedGpu:
    """One GPU. ``lose`` and ``fail`` are for tests; ``leaks`` says what was not given back."""

    def __init__(
        self,
        *,
        memory=1 << 28,
        name="Simulated Orin",
        sm=87,
        driver=12060,
        integrated=True,
        can_capture=True,
    ):
        self.name, self.sm, self.driver, self.memory = name, sm, driver, memory
        self.integrated = integrated
        self.can_capture = can_capture
        """Whether TensorRT's work can be captured; some loops cannot."""
        self.calls = Counter()
        self.bytes_up = {True: 0, False: 0}
        """By whether they came from pinned memory: frames do, what is uploaded does not."""
        self.launches = 0
        self._lock = threading.RLock()
        self._blocks: dict[int, np.ndarray] = {}
        self._pinned: dict[int, np.ndarray] = {}
        self._streams: dict[int, Stream] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._events: dict[int, float | None] = {}
        """When the GPU came to each; ``None``: not since it was last put into a stream."""
        self._next = _FIRST_ADDRESS
        self._numbers = iter(range(16, 1 << 30))
        """Of streams and graphs. The first few are CUDA's default streams, in which nothing is ever left."""
        self._lost = ""
        self._failures: dict[str, tuple[int, str]] = {}

    # -- for tests -------------------------------------------------------------------------------------

    def lose(self, error="cudaErrorLaunchFailure"):
        """From now on every call fails."""
        self._lost = error

    def fail(self, call, error, after=0):
        """Let one call fail, after it has succeeded some times."""
        self._failures[call] = (after, error)

    @property
    def used(self):
        return sum(map(len, self._blocks.values()))

    def leaks(self):
        """What is still there, in words."""
        return [
            f"{count} {what}"
            for what, count in {
                "allocations": len(self._blocks),
                "pinned buffers": len(self._pinned),
                "streams": len(self._streams),
                "graphs": len(self._graphs),
                "events": len(self._events),
            }.items()
            if count
        ]

    # -- calls -----------------------------------------------------------------------------------------

    def entered(self, call):
        """Every call of the runtime goes through here first."""
        with self._lock:
            self.calls[call] += 1
            if self._lost:
                raise Refused(self._lost)
            if call in self._failures:
                after, error = self._failures[call]
                if after:
                    self._failures[call] = (after - 1, error)
                else:
                    del self._failures[call]
                    raise Refused(error)

    def allocate(self, size):
        with self._lock:
            self._forbid_in_capture("cudaMalloc")
            if self.used + size > self.memory:
                raise Refused("cudaErrorMemoryAllocation")
            if size <= 0:
                raise Misuse(f"an allocation of {size} bytes")
            address, self._next = self._next, self._next + -(-size // 256) * 256 + _GAP
            # Nothing is zero until somebody made it so.
            self._blocks[address] = np.full(size, 0xA5, np.uint8)
            return address

    def release(self, address):
        with self._lock:
            self._forbid_in_capture("cudaFree")
            self._finish()  # cudaFree waits for the GPU
            if self._blocks.pop(address, None) is None:
                raise Misuse(f"{address:#x} was given back twice, or was never there")

    def allocate_pinned(self, size):
        with self._lock:
            self._forbid_in_capture("cudaMallocHost")
            array = np.full(size, 0xA5, np.uint8)
            self._pinned[array.ctypes.data] = array
            return array.ctypes.data

    def release_pinned(self, address):
        with self._lock:
            self._finish()
            if self._pinned.pop(address, None) is None:
                raise Misuse("pinned memory was given back twice")

    def bytes_at(self, address, size):
        """The bytes behind an address of the GPU."""
        for start, block in self._blocks.items():
            if start <= address and address + size <= start + len(block):
                return block[address - start : address - start + size]
        raise Misuse(f"{size} bytes at {address:#x} are not, or no longer, allocated")

    def is_pinned(self, address, size):
        return any(
            start <= address and address + size <= start + len(array) for start, array in self._pinned.items()
        )

    def new_stream(self):
        with self._lock:
            number = next(self._numbers)
            self._streams[number] = Stream()
            return number

    def stream(self, number):
        if number not in self._streams:
            raise Misuse(f"there is no stream {number}")
        return self._streams[number]

    def end_stream(self, number):
        with self._lock:
            self.synchronize(number)
            del self._streams[number]

    def put(self, number, work):
        """Queue work, or capture it."""
        with self._lock:
            stream = self.stream(number)
            for address, size in (*work.reads, *work.writes):
                self.bytes_at(address, size)
            if stream.captured is not None:
                if stream.capturing_thread != threading.get_ident():
                    raise Misuse("two threads use one stream")
                stream.captured.append(work)
                return
            self._check_races(number, work)
            stream.pending.append(work)

    def _check_races(self, number, work):
        for other, stream in self._streams.items():
            if other == number:
                continue
            for pending in stream.pending:
                touching = [
                    *((own, theirs) for own in work.writes for theirs in (*pending.reads, *pending.writes)),
                    *((own, theirs) for own in work.reads for theirs in pending.writes),
                ]
                if any(a < c + d and c < a + b for (a, b), (c, d) in touching):
                    raise Misuse(f"{work.what} and {pending.what} touch the same bytes in two streams")

    def synchronize(self, number):
        with self._lock:
            if number in _DEFAULT_STREAMS:
                return
            stream = self.stream(number)
            if stream.captured is not None:
                raise Misuse("waiting for a stream that is being captured")
            while stream.pending:
                work = stream.pending.popleft()
                for address, size in (*work.reads, *work.writes):
                    self.bytes_at(address, size)
                if not work.still_valid():
                    raise Misuse(f"{work.what} was captured before something it relies on changed")
                work.do()

    def _finish(self):
        for number, stream in self._streams.items():
            if stream.captured is None:
                self.synchronize(number)

    def copy_up(self, number, address, source, size):
        with self._lock:
            host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(source))
            pinned = self.is_pinned(source, size)
            self._forbid_pageable_in_capture(number, pinned)
            self.bytes_up[pinned] += size
            taken = host if pinned else host.copy()  # of pageable memory CUDA takes a copy before it returns

            def do():
                if pinned and not self.is_pinned(source, size):
                    raise Misuse("pinned memory was given back before it was copied")
                self.bytes_at(address, size)[:] = taken

            self.put(number, Work("a copy up", [], [(address, size)], do))

    def copy_down(self, number, target, address, size):
        with self._lock:
            pinned = self.is_pinned(target, size)
            self._forbid_pageable_in_capture(number, pinned)
            host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(target))

            def do():
                if pinned and not self.is_pinned(target, size):
                    raise Misuse("pinned memory was given back before it was filled")
                host[:] = self.bytes_at(address, size)

            self.put(number, Work("a copy down", [(address, size)], [], do))
            if not pinned:
                self.synchronize(number)

    def clear(self, number, address, value, size):
        def do():
            self.bytes_at(address, size)[:] = value

        self.put(number, Work("setting bytes", [], [(address, size)], do))

    # -- graphs ----------------------------------------------------------------------------------------

    def begin_capture(self, number):
        with self._lock:
            stream = self.stream(number)
            if stream.captured is not None:
                raise Misuse("a capture in a capture")
            stream.captured, stream.invalid = [], ""
            stream.capturing_thread = threading.get_ident()

    def invalidate_capture(self, number, why):
        self.stream(number).invalid = why

    def is_capturing(self, number):
        return self.stream(number).captured is not None

    def end_capture(self, number):
        with self._lock:
            stream = self.stream(number)
            if stream.captured is None:
                raise Misuse("the end of a capture that was not begun")
            works, stream.captured, stream.capturing_thread = stream.captured, None, None
            if stream.invalid:
                raise Refused("cudaErrorStreamCaptureInvalidated")
            graph = next(self._numbers)
            self._graphs[graph] = works
            return graph

    def instantiate(self, graph):
        with self._lock:
            executable = next(self._numbers)
            self._graphs[executable] = self._graphs[graph]
            return executable

    def end_graph(self, graph):
        with self._lock:
            if self._graphs.pop(graph, None) is None:
                raise Misuse("a graph was given back twice")

    def launch(self, graph, number):
        with self._lock:
            if graph not in self._graphs:
                raise Misuse(f"there is no graph {graph}")
            self.launches += 1
            for work in self._graphs[graph]:
                self.put(number, work)

    def new_event(self):
        with self._lock:
            number = next(self._numbers)
            self._events[number] = None
            return number

    def end_event(self, event):
        with self._lock:
            if event not in self._events:
                raise Misuse("an event was given back twice")
            del self._events[event]

    def record(self, event, number):
        with self._lock:
            if event not in self._events:
                raise Misuse(f"there is no event {event}")
            if self.is_capturing(number):
                raise Misuse("an event that keeps time in a capture")
            self._events[event] = None

            def do():
                if event in self._events:  # CUDA lets one go that is still to come
                    self._events[event] = time.perf_counter()

            self.put(number, Work("an event", [], [], do))

    def elapsed_ms(self, first, last):
        with self._lock:
            times = [self._events.get(event) for event in (first, last)]
            if None in times:
                raise Refused("cudaErrorNotReady")
            return (times[1] - times[0]) * 1e3

    def _forbid_in_capture(self, call):
        for stream in self._streams.values():
            if stream.capturing_thread == threading.get_ident():
                raise Misuse(f"{call} while this thread captures")

    def _forbid_pageable_in_capture(self, number, pinned):
        if not pinned and self.is_capturing(number):
            raise Misuse("pageable memory in a capture")
