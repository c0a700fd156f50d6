"""How far a start has come, for whoever waits for it; and its end, where somebody does not want to wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

log = logging.getLogger("edgead.run")

_LOG_EVERY_S = 10.0
_SLOW_AFTER_S = 3.0


class StoppedWhileStartingError(Exception):
    """Somebody ended it before the loop had begun. No failure."""


class Starting:
    """Called with each step of a start, in words.

    Args:
        stop: Set by whoever wants it to end.
        tell: Told of each step, e.g. the service manager and the page of health.
    """

    def __init__(self, stop: threading.Event, tell: Sequence[Callable[[str], None]]) -> None:
        self._stop, self._tell = stop, tuple(tell)
        self._logged_s = time.monotonic()
        self._slow: threading.Timer | None = None

    def __call__(self, what: str) -> None:
        """Say what comes now.

        Raises:
            StoppedWhileStartingError: It shall not come any more.
        """
        if self._stop.is_set():
            raise StoppedWhileStartingError
        for told in self._tell:
            told(what)
        self.over()
        if time.monotonic() - self._logged_s >= _LOG_EVERY_S:  # a quick start says nothing
            self._log(what)
        else:  # a step that takes long itself is not to wait for the next one to be told
            self._slow = threading.Timer(_SLOW_AFTER_S, self._log, (what,))
            self._slow.daemon = True
            self._slow.start()

    def over(self) -> None:
        """Nothing more is to be said of the last step: it is done, or the start has failed."""
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _log(self, what: str) -> None:
        log.info("starting: %s", what)
        self._logged_s = time.monotonic()

    def lessons(self, camera: str, done: int, total: int) -> None:
        """The same of lessons that are learned again; see :class:`LineLearning`."""
        self(f"{camera}: learning lessons again, {done} of {total}")
