"""Matrix products on one thread, where they are small.

A BLAS that wakes its threads for a product of a few microseconds takes several times as long (measured
with OpenBLAS on two busy cores), and its threads then spin and slow the next encode by a tenth or more
(``python -m benchmarks.spinning``).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import cache

from threadpoolctl import ThreadpoolController

_taken = threading.Lock()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, NumPy's products run on the calling thread alone.

    The setting is the process's. So the first to come sets it and takes it back, and whoever comes in between
    has it as well: if they all did, one could put back what another had set, for good.
    """
    taken = _taken
    if not taken.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1):
            yield
    finally:
        taken.release()


def _after_fork() -> None:
    """Whoever held the lock is not in a forked process, and would never give it back."""
    global _taken  # noqa: PLW0603
    _taken = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
