"""Matrix products on one thread, where many small ones follow each other.

A BLAS that wakes its threads for a product of a few microseconds takes several times as long (measured
with OpenBLAS on two busy cores), and its threads then spin and slow the next encode.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

_taken = threading.Lock()


@cache
def _controller() -> Any:
    if find_spec("threadpoolctl") is None:
        return None
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, NumPy's products run on the calling thread alone.

    The setting is the process's. So the first to come sets it and takes it back, and whoever comes in between
    has it as well: if they all did, one could put back what another had set, for good. Without
    ``threadpoolctl`` (the extra ``index``) nothing is changed.
    """
    controller = _controller()
    if controller is None or not _taken.acquire(blocking=False):
        yield
        return
    try:
        with controller.limit(limits=1):
            yield
    finally:
        _taken.release()
