"""Folders that edgead writes as a whole: they may replace their like, and never anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgead_runtime.errors import OutputError

from edgead.jobs.output_files import check_may_write


@dataclass(frozen=True)
class FolderKind:
    """What one kind of folder holds, and how a person names another place for it."""

    name: str
    """With its article, e.g. ``an encoder bundle``."""
    members: frozenset[str]
    """Everything such a folder can hold, by name."""
    is_one: Callable[[Path], bool]
    """Whether the folder really is of this kind; a generic file name proves nothing."""
    option: str
    """The option that names it, e.g. ``-o``."""


def check_own_folder(out: Path, kind: FolderKind, *, overwrite: bool) -> None:
    """Check before the work that a folder can be written, and replaces nothing but its like.

    Args:
        out: Where it goes.
        kind: What will be written.
        overwrite: Replace an earlier one.

    Raises:
        OutputError: ``out`` is a file, holds anything edgead did not write, or an earlier folder of this kind
            while ``overwrite`` is off; or this user may not write where it is.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(
            f"{out} is a file, and {kind.name} is a folder", f"Give another name after {kind.option}."
        )
    check_may_write(out)
    if not out.exists():
        return
    present = sorted(entry.name for entry in out.iterdir())
    if not present:
        return
    strangers = [name for name in present if name not in kind.members]
    if strangers or not kind.is_one(out):
        raise OutputError(
            f"{out} holds files that are not of {kind.name} ({(strangers or present)[0]}), "
            "and they are not replaced",
            f"Give a new folder after {kind.option}.",
        )
    if not overwrite:
        raise OutputError(
            f"{out} already holds {kind.name}", f"Add --overwrite, or give a new folder after {kind.option}."
        )
