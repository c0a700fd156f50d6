"""Ctrl-C while TensorRT builds."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def kept_until_asked(stopped: list[BaseException]) -> Iterator[None]:
    """Inside, the first Ctrl-C is put into ``stopped``, and only a second one raises.

    Python raises in whichever of its functions runs next, and while TensorRT builds that is one that TensorRT
    called: its logger, as a rule. TensorRT prints what is raised there and goes on for the minutes that are
    left. Whoever has set a handler of their own keeps it, and only the main thread is ever interrupted.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return

    def keep(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stopped.append(KeyboardInterrupt())

    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
