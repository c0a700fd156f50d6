"""A folder that does not outgrow its quota: the oldest goes first."""

from __future__ import annotations

import contextlib
from pathlib import Path

_ROOM_MADE = 0.9


class FolderQuota:
    """Watches the files in a folder that it was told of, and removes the oldest when they are too many.

    Nothing but what matches ``patterns`` is ever counted or removed.

    Args:
        folder: Where they lie, in subfolders too.
        patterns: Names of the files that belong to us, e.g. ``*.jpg``.
        max_bytes: What they may take together.
    """

    def __init__(self, folder: Path, patterns: tuple[str, ...], max_bytes: int) -> None:
        self._folder, self._patterns, self._max_bytes = folder, patterns, max_bytes
        self._size: int | None = None
        self.removed = 0
        """Files that had to go."""

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for pattern in self._patterns:
            for path in self._folder.rglob(pattern):
                with contextlib.suppress(OSError):
                    facts = path.stat()
                    found.append((facts.st_mtime, facts.st_size, path))
        return sorted(found)

    def make_room(self, coming: int) -> None:
        """Remove the oldest files until ``coming`` bytes more are within the quota."""
        if self._size is None:
            self._size = sum(size for _, size, _ in self._files())
        if self._size + coming > self._max_bytes:
            files = self._files()
            self._size = sum(size for _, size, _ in files)
            for _, size, path in files:
                if self._size + coming <= self._max_bytes * _ROOM_MADE:
                    break
                path.unlink(missing_ok=True)
                self._size -= size
                self.removed += 1
                with contextlib.suppress(OSError):  # not empty, most of the time
                    path.parent.rmdir()
        self._size += coming

    def correct(self, by: int) -> None:
        """What came was larger (or smaller) than was said."""
        self._size = (self._size or 0) + by
