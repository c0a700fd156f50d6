"""The pictures that were taught, as files that the other commands understand.

    FOLDER/CAMERA/train/good/     the pictures of enrolment, copied once
    FOLDER/CAMERA/test/good/      what was taught as good
    FOLDER/CAMERA/test/defect/    what was called a defect
    FOLDER/CAMERA/undone/         what was taken back

So ``FOLDER/CAMERA`` is a data set in the layout of MVTec-AD: ``edgead eval --dataset folder`` and every
``--labelled`` take it as it is.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from threading import Lock

from edgead_runtime.bank import Reference
from edgead_runtime.errors import LearningError
from edgead_runtime.files import atomic_folder, output_error, write_atomic
from edgead_runtime.images import PICTURE_SUFFIXES, encode_png
from edgead_runtime.streaming.lesson_journal import folder_for

log = logging.getLogger("edgead.learning")

GOOD, DEFECT = "test/good", "test/defect"
_ENROLLED = "train/good"
_UNDONE = "undone"


class LessonPictures:
    """Keeps pictures within a quota. Safe from any thread.

    What a detector or a person still needs is never removed to make room: pictures of undone lessons go, the
    oldest first, and when there are none the next lesson is refused.

    Args:
        folder: Where to; must exist.
        max_bytes: Quota for what was taught, of all cameras together. The copies of the pictures of enrolment
            are not counted.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = Lock()

    def path(self, relative: str) -> Path:
        """Where a picture lies."""
        return self._folder / PurePosixPath(relative)

    def keep(self, camera: str, place: str, name: str, png: bytes) -> str:
        """Write a picture.

        Args:
            camera: Whose.
            place: :data:`GOOD` or :data:`DEFECT`.
            name: Of the file.
            png: Its bytes.

        Returns:
            Its path below the folder.

        Raises:
            LearningError: The quota is used up.
            OutputError: It cannot be written.
        """
        relative = f"{camera}/{place}/{name}"
        with self._lock:
            self._make_room(len(png))
            path = self.path(relative)
            folder_for(path.parent)
            write_atomic(path, png)
        return relative

    def drop(self, relative: str) -> None:
        """Remove a picture whose lesson came to nothing."""
        with contextlib.suppress(OSError):
            self.path(relative).unlink(missing_ok=True)

    def set_aside(self, relative: str) -> None:
        """Take the picture of an undone lesson from among those whose label can be trusted."""
        path = self.path(relative)
        target = path.parents[2] / _UNDONE / path.name
        with self._lock:
            if not path.exists():
                return
            folder_for(target.parent)
            try:
                path.replace(target)
            except OSError as error:
                raise output_error(target, error) from error

    def copy_enrolled(self, camera: str, references: Sequence[Reference]) -> None:
        """Put the pictures of enrolment beside what is taught, once; whole or not at all.

        Raises:
            OutputError: They cannot be written.
        """
        target = self._folder / camera / _ENROLLED
        if target.is_dir():
            return
        folder_for(target.parent)
        with self._lock, atomic_folder(target) as folder:
            for number, reference in enumerate(references):
                picture = reference.picture
                if picture.suffix in PICTURE_SUFFIXES:
                    name, data = f"{number:04d}{picture.suffix}", picture.encode()
                else:
                    name, data = f"{number:04d}.png", encode_png(picture.frame)
                (folder / name).write_bytes(data)

    def _taught(self, place: str) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._folder.glob(f"*/{place}/*.png"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                found.append((facts.st_mtime, facts.st_size, path))
        return sorted(found)

    def _make_room(self, coming: int) -> None:
        undone = self._taught(_UNDONE)
        used = sum(size for place in (GOOD, DEFECT) for _, size, _ in self._taught(place))
        used += sum(size for _, size, _ in undone)
        for _, size, path in undone:
            if used + coming <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            log.info("%s is removed: it was taken back, and its place is needed", path)
            used -= size
        if used + coming > self._max_bytes:
            raise LearningError(
                f"{self._folder} is full: {used / 1e6:.0f} MB of its {self._max_bytes / 1e6:.0f} MB are used "
                "by pictures that are still needed",
                "Raise max_mb, take lessons back, or move defects that you have copied elsewhere.",
            )
