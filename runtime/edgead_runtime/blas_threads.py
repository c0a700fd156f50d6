"""Matrix products on one thread, where they are small.

A BLAS that wakes its threads for a product of a few microseconds takes several times as long (measured
with OpenBLAS on two busy cores), and its threads then spin and slow the next encode by a tenth or more
(``python -m benchmarks.spinning``).

The setting is the process's: NumPy's OpenBLAS knows none for a thread. So whatever another thread multiplies
meanwhile is on one thread too, an exact search of a large bank among it. That is for some milliseconds a
frame, and for some seconds while a coreset is chosen.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from edgead_runtime.forking import in_forked_processes

_taken = threading.Lock()
_seen: dict[str, int] = {}
"""Threads that each OpenBLAS had when ours was last asked for, by its file."""


@cache
def _blas() -> Any:
    return ThreadpoolController().select(user_api="blas")


@cache
def _openblas() -> Any:
    return _blas().select(internal_api="openblas")


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
        _lift_what_was_left_behind()
        with _limit():
            yield
    finally:
        taken.release()


def _limit() -> AbstractContextManager[Any]:
    """Ours; or none, where another library's holds: taken back after theirs, ours would bring theirs back."""
    if _most_threads() <= 1:
        return contextlib.nullcontext()
    limit = _blas().limit(limits=1)
    if _most_threads() <= 1:
        return limit  # type: ignore[no-any-return]
    # Another thread has set a limit, which threadpoolctl leaves to that thread until it is taken back.
    limit.restore_original_limits()
    return contextlib.nullcontext()


def _most_threads() -> int:
    return max((library.num_threads for library in _blas().lib_controllers), default=1)


def _look() -> None:
    _seen.update({library.filepath: library.num_threads for library in _openblas().lib_controllers})


def _lift_what_was_left_behind() -> None:
    """Another library's limit that began inside ours and ended after it has put back our 1, for good.

    To tell it from one that holds, the earlier count is asked for in a thread of its own: threadpoolctl does
    what that says only where no other thread has a limit. One that is refused is a limit to be kept.
    """
    known = dict(_seen)
    _look()
    before = {file: count for file, count in known.items() if count > _seen.get(file, count)}
    if before:
        asking = threading.Thread(target=_openblas().limit, kwargs={"limits": before}, name="edgead-blas")
        with contextlib.suppress(RuntimeError):  # Python ends, and starts no thread any more
            asking.start()
            asking.join()
        _look()


@in_forked_processes
def _after_fork() -> None:
    """Whoever held the lock is not in a forked process, and would never give it back."""
    global _taken  # noqa: PLW0603
    _taken = threading.Lock()
