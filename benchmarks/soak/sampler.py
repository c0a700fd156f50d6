"""What is noted while the loop runs: every two seconds a line, and every message that was decided."""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
from edgead_runtime.streaming import Delivery, StreamResult
from edgead_runtime.streaming.messages import Message

from benchmarks.soak.process_table import descendants, open_files, resident_mb, threads

SAMPLE_S = 2.0

Line = dict[str, float]


class Sampler:
    """A listener that counts, and a thread that writes a line of it every :data:`SAMPLE_S`.

    The thread is its own, so that a loop that stands shows as lines without frames rather than as no lines.

    Args:
        outbox: Its file; the one beside it that SQLite writes ahead counts too.
        delivery: Asked what waits.
        bank_rows: Tells how large the bank is.
        not_ours: A process that is not the loop's though it is a child: whoever looks at the page.
    """

    def __init__(
        self, outbox: Path, delivery: Delivery, bank_rows: Callable[[], int], not_ours: Callable[[], int]
    ) -> None:
        self._outbox, self._delivery = outbox, delivery
        self._bank_rows, self._not_ours = bank_rows, not_ours
        self.began = time.monotonic()
        self.lines: list[Line] = []
        self.latencies_ms = array("d")
        """Of all frames."""
        self.longest_gap_s = 0.0
        """Between two results."""
        self.events: list[tuple[str, str]] = []
        """Id and state of each message of an event, as the loop said them."""
        self._new_ms: list[float] = []
        self._dropped = 0
        self._last_s: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)

    # -- as a listener ---------------------------------------------------------------------------------

    def on_result(self, result: StreamResult) -> None:
        """A frame went through."""
        now = time.monotonic()
        with self._lock:
            self._new_ms.append(result.latency_ms)
            self._dropped += result.dropped
            if self._last_s is not None:
                self.longest_gap_s = max(self.longest_gap_s, now - self._last_s)
            self._last_s = now

    def on_message(self, message: Message) -> None:
        """An event, also the one that is closed when the loop ends."""
        if message.kind == "event":
            self.events.append((message.key, message.state))

    # -- lines -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.lines.append(self._line())

    def _line(self) -> Line:
        with self._lock:
            new, self._new_ms = self._new_ms, []
            dropped, self._dropped = self._dropped, 0
        self.latencies_ms.extend(new)
        ours, guest = os.getpid(), self._not_ours()
        guests = {guest, *descendants(guest)} if guest else set()
        line = {
            "minutes": (time.monotonic() - self.began) / 60,
            "resident_mb": resident_mb(ours),
            "children_mb": sum(resident_mb(each) for each in descendants(ours) if each not in guests),
            "browser_mb": sum(resident_mb(each) for each in guests),
            "threads": float(threads(ours)),
            "open_files": float(open_files(ours)),
            "bank_rows": float(self._bank_rows()),
            "outbox_mb": sum(_size_mb(Path(f"{self._outbox}{end}")) for end in ("", "-wal")),
            "frames": float(len(new)),
            "dropped": float(dropped),
        }
        if new:
            p50, p99 = np.percentile(new, [50, 99])
            line |= {"p50_ms": float(p50), "p99_ms": float(p99)}
        return line | {f"waiting: {name}": float(left) for name, left in self._delivery.waiting().items()}


def _size_mb(path: Path) -> float:
    try:
        return path.stat().st_size / 1e6
    except OSError:
        return 0.0
