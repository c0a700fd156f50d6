"""Telling systemd how the loop does: ready, alive, stopping. Some lines over a socket, and no dependency.

Source: ``sd_notify(3)``: datagrams to the Unix socket that ``$NOTIFY_SOCKET`` names. Without one (a shell, a
container) all of this does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

log = logging.getLogger("edgead.run")

_A_THIRD = 3  # of the watchdog's time: one ping may be late without the loop being ended
_STATUS_EVERY_S = 10.0
_LONGEST_STEP_S = 900


class ServiceManager:
    """Keeps systemd informed from the start of the loop to its end; a context manager.

    While it starts, each step may take as long as it says (:meth:`starting`): lessons that are learned again
    can take longer than ``TimeoutStartSec``, and one that hangs is still ended. Once it is ready the watchdog
    is fed, only while the loop's thread turns. One that hangs (in a sink of somebody's own, say) is thereby
    ended and started anew, which a process that merely exists would not be.

    Args:
        environment: By default that of the process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._turns: Callable[[], bool] = lambda: False
        self._status: Callable[[], str] = lambda: ""
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environment)
        """Within which systemd wants to hear of it; ``None`` where it does not watch."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service manager", daemon=True)
        self._failed = False

    def starting(self, what: str) -> None:
        """Say what is being done before it is ready, and that the next step may take a quarter of an hour."""
        self._send(f"EXTEND_TIMEOUT_USEC={_LONGEST_STEP_S * 1_000_000}", f"STATUS={_one_line(what)}")

    def ready(self, turns: Callable[[], bool], status: Callable[[], str]) -> None:
        """Say that it is ready: detectors are loaded, sinks open. A camera may still be away.

        Args:
            turns: Whether the loop's thread turns; asked from another thread.
            status: What ``systemctl status`` shows, in a line.
        """
        self._turns, self._status = turns, status
        if self._address:
            self._send("READY=1", f"STATUS={_one_line(status())}")
            self._thread.start()

    def stopping(self, why: str = "") -> None:
        """Say that it is stopping. Once; what comes after the first time is passed over."""
        if self._over.is_set():
            return
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        self._send("STOPPING=1", f"STATUS={_one_line(why)}")

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping("" if error is None else str(error))

    def _run(self) -> None:
        every_s = _STATUS_EVERY_S if self.watchdog_s is None else self.watchdog_s / _A_THIRD
        while not self._over.wait(min(every_s, _STATUS_EVERY_S)):
            if self._turns():
                self._send("WATCHDOG=1", f"STATUS={_one_line(self._status())}")
            else:
                log.error("the loop's thread does not turn: the watchdog is not fed")
                self._send("STATUS=the loop's thread does not turn")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract socket.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(1.0)
                connection.sendto("\n".join(assignments).encode(), address)
        except OSError as error:  # never a reason to stop inspecting
            if not self._failed:
                log.warning("cannot reach the service manager at %s: %s", self._address, error)
            self._failed = True


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
        process = int(environment.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    # Set for another process where a parent passed its environment on.
    return microseconds / 1e6 if microseconds > 0 and process == os.getpid() else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
