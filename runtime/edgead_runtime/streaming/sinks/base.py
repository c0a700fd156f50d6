"""What a sink is: somewhere messages go, one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

from edgead_runtime.streaming.stored import StoredMessage

S = TypeVar("S", bound="Sink")


class Sink(ABC):
    """Takes messages in order, each at least once.

    After a crash the last ones may come again: whoever counts them goes by ``id`` and ``state``.

    Runs in a thread of its own and may take its time; what it raises is logged, it is closed, and the same
    message comes again after a pause. A context manager, for use without a
    :class:`~edgead_runtime.streaming.Delivery`.
    """

    name: str
    """Its place in the outbox is kept under this name over restarts."""

    def open(self) -> None:  # noqa: B027  (most have nothing to open)
        """Connect, or open files; also called again after a failure."""

    @abstractmethod
    def send(self, message: StoredMessage) -> None:
        """Hand on one message; once this returns it is the receiver's.

        Raises:
            SinkRefusedError: It will never be taken; go on with the next.
            Exception: It could not be handed on now.
        """

    def close(self) -> None:  # noqa: B027
        """Disconnect; may be called when it is not open."""

    def __enter__(self: S) -> S:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
