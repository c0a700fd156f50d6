"""What the loop gives for each frame, and who may listen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgead_runtime.errors import EdgeadError
from edgead_runtime.result import Result
from edgead_runtime.streaming.events import Event
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.messages import Message


@dataclass(frozen=True, eq=False)
class StreamResult:
    """What became of one frame."""

    camera: str
    frame: CameraFrame
    result: Result | None
    """``None`` where it was not inspected; ``failure`` says why."""
    failure: EdgeadError | None
    events: tuple[Event, ...]
    """What became of this camera's events with this frame."""
    latency_ms: float
    """From capture to verdict."""
    late: bool
    """Beyond the budget."""
    dropped: int
    """Frames of this camera that were dropped since its last result."""

    @property
    def is_good(self) -> bool:
        """Inspected, and nothing found. The only one to pass a part on: a frame not inspected is not good."""
        return self.result is not None and not self.result.is_anomaly

    @property
    def is_anomaly(self) -> bool:
        """Inspected, and above the threshold."""
        return self.result is not None and self.result.is_anomaly

    @property
    def score(self) -> float:
        """The result's score; not a number where the frame was not inspected."""
        return float("nan") if self.result is None else self.result.score


class Listener(Protocol):
    """Is told of everything, in the loop's thread, and so has to return at once.

    What it raises is logged and does not stop the loop.
    """

    def on_result(self, result: StreamResult) -> None:
        """A frame went through. Best effort: nothing is kept for a listener that was not there."""
        ...

    def on_message(self, message: Message) -> None:
        """An event or a trouble changed."""
        ...
