"""Which folders engines lie in, whether one can be written there, and who may build into it now."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgead_runtime.cache import cache_dir
from edgead_runtime.errors import OutputError
from edgead_runtime.files import check_writable, output_error

if sys.platform != "win32":
    import fcntl

FOLDER = "engines"
"""Inside an encoder bundle and in the cache."""
LOCK_NAME = ".building.lock"
"""Empty, and left where it is: whoever removed it could take it from under another's feet."""
_in_this_thread = threading.local()


def own_folder(source: str | None) -> Path:
    """Where engines for a bundle belong: inside it, or in the cache where it is not a folder."""
    if source is not None and Path(source).is_dir():
        return Path(source) / FOLDER
    return cache_dir() / FOLDER


def folders_of(source: str | None) -> list[Path]:
    """Where engines for a bundle may lie, the first place first."""
    return list(dict.fromkeys((own_folder(source), cache_dir() / FOLDER)))


def folder_to_build_into(source: str | None, *, into_cache: bool = False) -> Path:
    """The first of these folders that can be written. To be asked before the minutes that a build takes.

    Args:
        source: The encoder bundle.
        into_cache: Leave the bundle's own out.

    Raises:
        OutputError: None can be written.
    """
    cache = cache_dir() / FOLDER
    own = cache if into_cache else own_folder(source)
    try:
        check_writable(own)
    except OutputError:
        if own == cache:
            raise
        check_writable(cache)
        return cache
    return own


@contextlib.contextmanager
def only_builder(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Be the only one who builds into a folder, of all processes and threads; wait for one who does already.

    A thread may enter again what it is in. The system lets go when a process ends, however it ends. On
    Windows, and on a file system without locks, nothing is locked: two who begin at once then both build, and
    the later engine takes the place of the other, whole.

    Args:
        folder: It must be there.
        waiting: Called once if somebody else is building.

    Raises:
        OutputError: The lock's file cannot be opened.
    """
    held: set[Path] = _in_this_thread.__dict__.setdefault("held", set())
    key = folder.resolve()
    if key in held:
        yield
        return
    path = folder / LOCK_NAME
    try:
        file = path.open("ab")
    except OSError as error:
        raise output_error(path, error) from error
    with file:
        _lock(file, waiting)
        held.add(key)
        try:
            yield
        finally:
            held.discard(key)
            _unlock(file)


def _lock(file: IO[bytes], waiting: Callable[[], None]) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system that has no locks


def _unlock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        return
    # Closing is not enough: a process that was forked meanwhile has the file open too.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
