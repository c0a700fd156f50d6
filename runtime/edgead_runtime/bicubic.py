"""Pillow's antialiased bicubic, the papers' resize, on two cores where the picture is worth it.

Pillow uses one core. A large picture is resized as a lower and an upper half, each with the rows beyond its
edge that the filter reaches. The result is the same to the last bit, or the picture is not split: which of
its two passes Pillow does first depends on its version and on the shape, so it is asked once for each that
comes again. Asking takes as long as three or four resizes, so a picture of a size that was not seen lately is
just resized.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from edgead_runtime.cores import usable_cores
from edgead_runtime.forking import in_forked_processes
from edgead_runtime.images import Frame

_WORTH_A_THREAD = 400_000
"""Pixels from which half the work outweighs handing it over (a tenth of a millisecond)."""
_REACH = 2
"""Of the cubic filter, in pixels of whichever picture is the smaller."""
_REMEMBERED = 64
"""Shapes that were seen last. Of as many Pillow's answers are kept, so none is asked for twice."""


def bicubic_antialias(frame: Frame, size: tuple[int, int]) -> Frame:
    """Resize by Pillow's rule.

    Args:
        frame: ``[H, W, C]`` uint8.
        size: Of the result (height, width).

    Returns:
        ``[height, width, C]`` uint8, not to be written to.
    """
    height, width, channels = frame.shape
    shape = height, width, channels
    comes_again = height * width >= _WORTH_A_THREAD and next(_earlier(shape, size)) > 0
    cut = _cut(shape, size) if comes_again else None
    # A second caller does its picture alone: the cores are busy, and waiting for a turn gains nothing.
    if cut is None or not _helper_is_free.acquire(blocking=False):
        return _rows(frame, size, 0, size[0])
    try:
        return _in_two(frame, size, cut)
    finally:
        _helper_is_free.release()


def _in_two(frame: Frame, size: tuple[int, int], cut: int) -> Frame:
    try:
        other = _helper().submit(_rows, frame, size, cut, size[0])
    except RuntimeError:  # the main thread has ended: Python starts no work any more, but others go on
        return _rows(frame, size, 0, size[0])
    return np.concatenate([_rows(frame, size, 0, cut), other.result()])


@functools.lru_cache(maxsize=_REMEMBERED)
def _earlier(shape: tuple[int, int, int], size: tuple[int, int]) -> Iterator[int]:
    """Gives how often this was asked for before."""
    return itertools.count()


@functools.lru_cache(maxsize=_REMEMBERED)
def _cut(shape: tuple[int, int, int], size: tuple[int, int]) -> int | None:
    """The row of the result at which to split; ``None`` where that is not possible or not the same.

    It is the one nearest the middle that starts exactly where a row of the picture does.
    """
    common = math.gcd(shape[0], size[0])
    if common < 2 or usable_cores() < 2:
        return None
    cut = common // 2 * (size[0] // common)
    # Noise goes beyond 0 and 255 between the passes, so that it tells their order.
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    parts = [_rows(noise, size, 0, cut), _rows(noise, size, cut, size[0])]
    return cut if np.array_equal(np.concatenate(parts), _rows(noise, size, 0, size[0])) else None


def _rows(frame: Frame, size: tuple[int, int], first: int, end: int) -> Frame:
    """Rows ``first`` to ``end`` of the resized picture; both start where a row of the frame does."""
    height, (new_height, new_width) = frame.shape[0], size
    top, bottom = first * height // new_height, end * height // new_height
    reach = math.ceil(_REACH * max(1.0, height / new_height)) + 1
    start = max(0, top - reach)
    part = np.ascontiguousarray(frame[start : min(height, bottom + reach)])
    box = (0, top - start, frame.shape[1], bottom - start)
    resized = Image.fromarray(part).resize((new_width, end - first), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


@functools.cache
def _helper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="edgead-resize")


_helper_is_free = threading.Lock()


@in_forked_processes
def _after_fork() -> None:
    """A forked process has the executor but not its thread, and whoever held the lock may not be in it."""
    global _helper_is_free  # noqa: PLW0603
    _helper_is_free = threading.Lock()
    _helper.cache_clear()
