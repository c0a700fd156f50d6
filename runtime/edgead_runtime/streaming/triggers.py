"""When to take a frame: a light barrier, a PLC's message, a person's button."""

from __future__ import annotations

import threading
from collections import deque

PENDING = 16


class Trigger:
    """Takes a frame each time it is fired, and none otherwise.

    The plug-in point for hardware: call :meth:`fire` from whatever notices the part, for example
    ``gpiozero.Button(17).when_pressed = trigger.fire``. Safe from any thread, returns at once. The
    frame taken is the first that the camera hands over after the call.
    """

    def __init__(self) -> None:
        self._fired: deque[str] = deque()
        self._changed = threading.Condition()
        self.missed = 0
        """Firings that came while 16 were waiting for their frames; each is a part that nobody inspected."""

    def fire(self, label: str = "") -> None:
        """Ask for a frame.

        Args:
            label: Becomes the frame's name, e.g. a serial number.
        """
        with self._changed:
            if len(self._fired) >= PENDING:
                self.missed += 1
                return
            self._fired.append(label)
            self._changed.notify_all()

    @property
    def problem(self) -> str:
        """Why it cannot fire now, in words; empty while it can."""
        return ""

    def wait(self, timeout_s: float) -> str | None:
        """The label of the oldest firing not yet served, or ``None`` if there is none within the time."""
        with self._changed:
            if not self._fired:
                self._changed.wait(timeout_s)
            return self._fired.popleft() if self._fired else None

    def open(self) -> None:
        """Begin to listen; called when the stream begins."""

    def close(self) -> None:
        """Stop listening; called when the stream ends."""
