"""Files that are either whole or not there: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from edgead_runtime.errors import OutputError

_CHUNK_BYTES = 1 << 20
_PREFIX = ".edgead-"
_ABANDONED_S = 24 * 3600


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of ``data`` as hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file as hex, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def output_error(path: Path, error: OSError) -> OutputError:
    """Say why ``path`` could not be written and what to do."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        return OutputError(f"cannot write {path}: the disk is full", "Free some space and run this again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"cannot write {path}: {reason}", "Choose a place that you may write to.")
    return OutputError(f"cannot write {path}: {reason}", "Choose another place.")


def _is_elsewhere(error: OSError, *places: Path) -> bool:
    """Whether the error names a file that is none of ours; one without a name (a full disk) is ours."""
    if not isinstance(error.filename, str):
        return False
    named = Path(error.filename)
    return not any(place == named or place in named.parents for place in places)


def _temporary(path: Path, kind: str) -> Path:
    """A name beside ``path`` that nothing has; mkstemp would make it readable to its owner alone."""
    return path.parent / f"{_PREFIX}{secrets.token_hex(8)}.{kind}"


def remove_leftovers(folder: Path, pattern: str = f"{_PREFIX}*.part") -> None:
    """Remove what processes left a day ago or earlier that were killed, or cut off, while they wrote.

    Args:
        folder: One of the cache; in a person's own folder nothing is removed unasked.
        pattern: Of the temporary names.
    """
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # gone meanwhile, or somebody else's
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _fsync_folder(path: Path) -> None:
    # Without this the rename itself can be lost in a power cut. Not every file system allows it.
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _fsync_files(folder: Path) -> None:
    for entry in folder.rglob("*"):
        if entry.is_file():
            with entry.open("rb") as stream:
                os.fsync(stream.fileno())


def check_writable(folder: Path) -> None:
    """See whether files can be written into a folder, which is made where it is not there.

    To be asked before long work. Permissions alone do not say it: a file system may be read-only.

    Raises:
        OutputError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _temporary(folder / "probe", "part")
        try:
            probe.write_bytes(b"0")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name beside it; on success it takes the place of ``path``.

    Args:
        path: The final name; its folder must exist.

    Yields:
        The temporary path to write to.

    Raises:
        OutputError: The file cannot be written. What was at ``path`` is still whole.
    """
    try:
        temporary = _temporary(path, "part")
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        if _is_elsewhere(error, temporary, path):
            raise
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a power cut leaves the old file or the new one.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Fill a folder under a temporary name; on success it becomes ``path``, otherwise it is removed.

    Args:
        path: The final name. Missing parents are made.
        overwrite: Replace an existing folder.

    Yields:
        The temporary folder to fill.

    Raises:
        OutputError: ``path`` exists (and ``overwrite`` is off) or cannot be written.
    """
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file", "Choose another name for the folder.")
        if path.exists() and not overwrite and any(path.iterdir()):
            raise OutputError(f"{path} exists already", "Choose another name, or say --overwrite.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path, "part")
        temporary.mkdir()
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield temporary
        _fsync_files(temporary)
        _replace_folder(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        if _is_elsewhere(error, temporary, path):
            raise
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; the old folder goes only once the new one stands."""
    if not path.exists():
        new.replace(path)
        return
    old = _temporary(path, "old")
    old.mkdir()
    aside = old / path.name
    try:
        path.replace(aside)
        new.replace(path)
    except BaseException:  # Ctrl-C between the two must not cost the old folder
        if aside.exists() and not path.exists():
            aside.replace(path)
        with contextlib.suppress(OSError):
            old.rmdir()  # and never what is still in it
        raise
    shutil.rmtree(old, ignore_errors=True)
