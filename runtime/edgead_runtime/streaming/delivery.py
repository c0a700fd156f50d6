"""From the loop to the sinks: encode, keep in the outbox, hand on. None of it in the loop's thread."""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from edgead_runtime.errors import ConfigError, EdgeadError, SinkRefusedError
from edgead_runtime.streaming.clock import SYSTEM_CLOCK, Clock, stamp
from edgead_runtime.streaming.encoding import encoded
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.outbox import Outbox
from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.sinks.base import Sink
from edgead_runtime.streaming.stored import Loss, StoredMessage

log = logging.getLogger("edgead.delivery")

_TO_ENCODE = 64
_WITH_PICTURES = 16
_BURST_WAIT_S = 0.5
_SAVE_AGAIN_S = 5.0
_LOOK_AGAIN_S = 1.0


@dataclass
class SinkState:
    """How a sink does."""

    delivered: int = 0
    refused: int = 0
    """Messages that the receiver will never take; passed over."""
    failures: int = 0
    """Attempts that failed."""
    down: str = ""
    """Why it does not take messages now; empty while it does."""
    losses_told: Loss = field(default_factory=Loss)
    """What the quota took from it, and it knows of."""


class Delivery:
    """Hands every message to every sink, in order and at least once. A listener of the stream.

    Use it as a context manager around the stream. What an earlier process opened and never closed is closed
    at the start, with the reason ``interrupted``.

    Args:
        sinks: Where messages go; each has a thread of its own, so that one that is down delays no other.
        outbox: The file in which they wait; ``None``: in memory, so that they do not survive the process.
        max_mb: Quota for what waits; what goes first is said at
            :class:`~edgead_runtime.streaming.outbox.Outbox`.
        backoff_s: Pause after a failure: the first, doubled up to the second.
        drain_s: How long leaving it waits for sinks to take what is there; the rest stays in the outbox.
        clock: For stamps.

    Raises:
        ConfigError: Two sinks of one name, or the outbox is used by another process.
        OutputError: The outbox cannot be made.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        outbox: str | Path | None = None,
        max_mb: float = 200.0,
        backoff_s: tuple[float, float] = (0.5, 60.0),
        drain_s: float = 5.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        names = [sink.name for sink in sinks]
        if len(set(names)) != len(names):
            raise ConfigError(f"two sinks share a name: {', '.join(names)}", "Name each once.")
        self._sinks, self._backoff_s, self._drain_s, self._clock = tuple(sinks), backoff_s, drain_s, clock
        self._path, self._max_bytes = (None if outbox is None else Path(outbox)), int(max_mb * 1e6)
        self.states = {name: SinkState() for name in names}
        self.dropped_pictures = 0
        """Pictures that were not even encoded, because the disk took too long."""
        self.dropped_messages = 0
        """Messages that found no place on their way to the outbox, because the disk took too long."""
        self._queue: queue.Queue[Message | None] = queue.Queue(_TO_ENCODE)
        self._disk_hangs = False
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._outbox: Outbox | None = None

    # -- life ------------------------------------------------------------------------------------------

    def __enter__(self) -> Delivery:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Open the outbox, close what was left open, and begin to deliver."""
        self._outbox = Outbox(self._path, [sink.name for sink in self._sinks], self._max_bytes)
        self._outbox.add(
            [
                StoredMessage(
                    left.kind,
                    left.camera,
                    left.key,
                    "closed",
                    stamp(self._clock.now()),
                    {**left.body, "reason": "interrupted"},
                )
                for left in self._outbox.unfinished()
            ]
        )
        self._threads = [
            threading.Thread(target=self._write, args=(self._outbox,), name="outbox", daemon=True)
        ]
        self._threads += [
            threading.Thread(target=self._deliver, args=(sink, self._outbox), name=sink.name, daemon=True)
            for sink in self._sinks
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Save all, wait a little for the sinks, and end; what they did not take stays in the outbox."""
        if self._outbox is None:
            return
        writer, *deliverers = self._threads
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=self._drain_s)
        writer.join(self._drain_s)
        if writer.is_alive():
            log.error("the outbox's disk hangs; what was not yet written is lost")
            self._stop.set()
            return
        end = time.monotonic() + self._drain_s
        while time.monotonic() < end and any(self._outbox.waiting().values()):
            if all(self.states[sink.name].down for sink in self._sinks):
                break
            time.sleep(0.02)
        self._stop.set()
        with self._outbox.changed:
            self._outbox.changed.notify_all()
        end = time.monotonic() + self._drain_s  # for all of them together: ten that hang take no longer
        for thread in deliverers:
            thread.join(max(0.0, end - time.monotonic()))
        left = {name: count for name, count in self._outbox.waiting().items() if count}
        if left:
            log.warning(
                "left in the outbox: %s", ", ".join(f"{count} for {name}" for name, count in left.items())
            )
        self._outbox.close()
        self._outbox = None

    # -- as a listener ---------------------------------------------------------------------------------

    def on_message(self, message: Message) -> None:
        """Take a message; returns at once. It is on the disk soon after; :meth:`flush` waits for it."""
        if self._outbox is None:
            raise EdgeadError(
                "a delivery is used that is not open", "Put it in a with statement around the loop."
            )
        if message.attachments and not self._room_for_pictures():
            # Each holds a frame. With a disk that hangs, the words matter more.
            self.dropped_pictures += 1
            message = Message(
                message.kind, message.camera, message.key, message.state, message.at, message.body
            )
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self.dropped_messages += 1
            if self.dropped_messages == 1:
                log.error("the outbox's disk hangs; messages are lost")  # noqa: TRY400

    def _room_for_pictures(self) -> bool:
        """Whether few enough wait to be encoded; in a burst the loop waits a moment."""
        end = time.monotonic() + (0.0 if self._disk_hangs else _BURST_WAIT_S)
        while self._queue.qsize() >= _WITH_PICTURES:
            if time.monotonic() >= end:
                self._disk_hangs = True
                return False
            time.sleep(0.002)
        self._disk_hangs = False
        return True

    def on_result(self, result: StreamResult) -> None:
        """Nothing: a result that is no event is not delivered."""

    def flush(self) -> None:
        """Wait until all that was taken is in the outbox."""
        self._queue.join()

    def waiting(self) -> dict[str, int]:
        """How many messages each sink has still to get."""
        return {} if self._outbox is None else self._outbox.waiting()

    def losses(self) -> dict[str, Loss]:
        """What the quota took from each sink, told to it or not yet; of an earlier run only what was not."""
        outbox = self._outbox
        if outbox is None:
            return {name: state.losses_told for name, state in self.states.items()}
        with outbox.changed:
            return {name: state.losses_told.plus(outbox.lost(name)) for name, state in self.states.items()}

    @property
    def disk_problem(self) -> str:
        """Why messages wait in memory only; empty while the disk works."""
        return "" if self._outbox is None else self._outbox.disk_problem

    # -- threads ---------------------------------------------------------------------------------------

    def _write(self, outbox: Outbox) -> None:
        while True:
            try:
                message = self._queue.get(timeout=_SAVE_AGAIN_S)
            except queue.Empty:
                outbox.save()
                continue
            try:
                if message is None:
                    return
                outbox.add([encoded(message)])
            except Exception:
                log.exception("a message could not be kept: %s", message)
            finally:
                self._queue.task_done()
                del message

    def _deliver(self, sink: Sink, outbox: Outbox) -> None:
        state, wait_s, is_open = self.states[sink.name], self._backoff_s[0], False
        while not self._stop.is_set():
            try:
                with outbox.changed:
                    messages = outbox.next_for(sink.name)
                    if not messages:
                        outbox.changed.wait(_LOOK_AGAIN_S)
                        continue
                if not is_open:
                    sink.open()
                    is_open = True
                self._hand_on(sink, outbox, messages, state)
            except Exception as error:  # noqa: BLE001  (whatever it is, the message comes again)
                if self._stop.is_set():  # it came back after we had given it up, to an outbox that is closed
                    break
                state.failures += 1
                if not state.down:
                    log.warning("%s is down: %s", sink.name, error)
                state.down = str(error) or type(error).__name__
                is_open = False
                _close(sink)
                self._stop.wait(wait_s * random.uniform(0.8, 1.2))  # noqa: S311  (no secret)
                wait_s = min(wait_s * 2, self._backoff_s[1])
            else:
                wait_s = self._backoff_s[0]
        if is_open:
            _close(sink)

    def _hand_on(
        self, sink: Sink, outbox: Outbox, messages: Sequence[StoredMessage], state: SinkState
    ) -> None:
        loss = outbox.lost(sink.name)
        if loss:
            body = {**asdict(loss), "text": loss.text}
            sink.send(StoredMessage("loss", "", "outbox", "closed", stamp(self._clock.now()), body))
            with outbox.changed:  # together, or a sum of both would go back for a moment
                outbox.told(sink.name, loss)
                state.losses_told = state.losses_told.plus(loss)
        for message in messages:
            if self._stop.is_set():
                return
            try:
                sink.send(message)
            except SinkRefusedError as error:
                state.refused += 1
                log.error("%s refuses message %d: %s", sink.name, message.number, error)  # noqa: TRY400
            else:
                state.delivered += 1
            outbox.took(sink.name, message.number)
            if state.down:
                log.info("%s takes messages again", sink.name)
                state.down = ""


def _close(sink: Sink) -> None:
    try:
        sink.close()
    except Exception as error:  # noqa: BLE001  (it is being given up anyway)
        log.debug("%s did not close: %s", sink.name, error)
