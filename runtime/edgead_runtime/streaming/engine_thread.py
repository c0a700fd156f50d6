"""The one thread in which detectors run, and the watch over it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from edgead_runtime.errors import StreamStoppedError
from edgead_runtime.images import Frame
from edgead_runtime.result import Result

FIRST_CALLS_TAKE_LONGER = 10
"""Engines compile at the first frame."""


class Inspects(Protocol):
    """A :class:`~edgead_runtime.Detector`, or whatever answers to a frame as one does."""

    def __call__(self, frame: Frame) -> Result:
        """Inspect one frame ``[H, W, 3]`` uint8, BGR."""
        ...


class EngineThread:
    """Runs detectors one after the other, so that cameras that share an encoder do not fight for the cores.

    A thread of its own because nothing else could notice an engine that does not come back.

    Args:
        timeout_s: An inspection that takes longer hangs; the first of each detector may take ten times as
            long.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._begun: set[int] = set()
        self._job: tuple[Inspects, Frame] | None = None
        self._outcome: Result | Exception | None = None
        self._asked = threading.Semaphore(0)
        self._answered = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name="inspect", daemon=True)
        self._thread.start()

    def inspect(self, detector: Inspects, frame: Frame, while_waiting: Callable[[], None]) -> Result:
        """Inspect one frame.

        Args:
            detector: Does it.
            frame: ``[H, W, 3]`` uint8, BGR.
            while_waiting: Called about twice a second, so that a slow engine does not stop the watch over
                cameras. What it raises ends the wait; this thread is then lost, and so is the stream.

        Raises:
            StreamStoppedError: It did not come back in time. This thread is lost; so is the stream.
            Exception: Whatever the detector raised.
        """
        limit_s = self._timeout_s * (1 if id(detector) in self._begun else FIRST_CALLS_TAKE_LONGER)
        self._job = (detector, frame)
        self._asked.release()
        waited_s = 0.0
        while not self._answered.acquire(timeout=0.5):
            waited_s += 0.5
            if waited_s >= limit_s:
                raise StreamStoppedError(
                    f"the engine has not come back from a frame for {waited_s:.0f} s",
                    "Start again; if it happens again, try another engine (--engine) or fewer threads.",
                )
            while_waiting()
        self._begun.add(id(detector))
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            raise TypeError("the detector returned None instead of a result")
        return outcome

    def _run(self) -> None:
        while True:
            self._asked.acquire()
            if self._job is None:
                return
            (detector, frame), self._job = self._job, None
            try:
                self._outcome = detector(frame)
            except Exception as error:  # noqa: BLE001  (handed to the loop, which decides)
                self._outcome = error
            del detector, frame
            self._answered.release()

    def close(self) -> None:
        """End the thread once it is idle; one that hangs dies with the process."""
        self._job = None
        self._asked.release()
        self._thread.join(0.5)
