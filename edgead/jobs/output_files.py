"""Files that a command writes: checked before the work."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from edgead_runtime.errors import OutputError
from edgead_runtime.files import output_error


def check_output_file(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, and replaces nothing unasked.

    Args:
        path: The file.
        overwrite: Replace an earlier one.

    Raises:
        OutputError: It is a folder, in a folder that is not there or not to be written, or exists already.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", "Give the name of a file.")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}", "Make it first.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already", "Choose another name, or add --overwrite.")
    check_may_write(path)


def check_may_write(path: Path) -> None:
    """Check that this user may put a file or folder there, which would else be found out after minutes.

    Args:
        path: It, or folders above it, may not be there yet.

    Raises:
        OutputError: The folder that it, or the first of these folders, would be in is not to be written.
    """
    folder = next(each for each in path.absolute().parents if each.is_dir())
    # Elsewhere than on POSIX the answer is of an attribute that says nothing of a folder.
    if os.name == "posix" and not os.access(folder, os.W_OK | os.X_OK):
        raise output_error(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_all_different(files: Mapping[str, Path | None]) -> None:
    """Refuse to read and write, or to write twice, what is one file.

    Args:
        files: By what a person calls them; those that are ``None`` are passed over.

    Raises:
        OutputError: Two are the same.
    """
    seen: dict[Path, str] = {}
    for name, path in files.items():
        if path is None:
            continue
        place = path.resolve()
        if place in seen:
            raise OutputError(f"{seen[place]} and {name} are the same file, {path}", "Choose another name.")
        seen[place] = name
