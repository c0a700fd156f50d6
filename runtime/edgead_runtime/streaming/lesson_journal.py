"""The journal of what was taught: one JSON line a lesson, appended, synced, never changed.

It is the truth about what a detector has learned on the line: what counts is in it, and what is not in it was
not learned. A line that a power cut left half-written was never acknowledged and is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec

from edgead_runtime.errors import LearningError, OutputError
from edgead_runtime.files import output_error
from edgead_runtime.json_text import UNREADABLE
from edgead_runtime.streaming.teaching import Lesson

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("edgead.learning")

SCHEMA_VERSION = 1
JOURNAL_NAME = "lessons.jsonl"
_MAX_BYTES = 256_000_000


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the journal."""

    schema: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA_VERSION
    id: Annotated[str, msgspec.Meta(pattern=r"^[\w-]{1,64}$")]
    camera: str
    kind: Literal["good", "defect", "undo"]
    at: float
    time: str
    """The same as ``at`` for a person to read, UTC."""
    who: str
    picture: Annotated[str, msgspec.Meta(pattern=r"^(?!\.\.?/)[^/\\]+/test/(good|defect)/[\w-]+\.png$")]
    """Where it was put, below the folder of what was learned."""
    name: str
    """What the frame was called: a file's name, or what a trigger was labelled with."""
    width: int
    height: int
    digest: str
    """Of the picture's pixels."""
    undoes: str | None = None
    before: str
    """Fingerprint of the detector before and after."""
    after: str
    patches: int
    """In the bank after it."""

    def lesson(self, *, undone: bool) -> Lesson:
        """As it is told to whoever asks."""
        name = self.name or self.picture.rpartition("/")[2]
        return Lesson(self.id, self.camera, self.kind, self.at, self.who, name, self.undoes, undone)


def parse_journal(data: bytes, where: str) -> tuple[list[Entry], int]:
    """The lines of a journal.

    Args:
        data: The file's bytes.
        where: Its name, for messages.

    Returns:
        The entries, and how many bytes of the file they are: less than all where the last line is half a one.

    Raises:
        LearningError: A line is damaged, or a newer edgead wrote it.
    """
    *lines, tail = data.split(b"\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_entry(line, where))
        except UNREADABLE as error:
            # Passing over it could bring back what was undone: a defect that was taught as good.
            raise LearningError(
                f"{where}: line {number} is damaged ({error})",
                "Restore the file, or remove that line: its lesson is then as if it had never been.",
            ) from error
    try:
        entries.append(_entry(tail, where))
    except UNREADABLE:
        return entries, len(data) - len(tail)
    return entries, len(data)


def _entry(line: bytes, where: str) -> Entry:
    entry = msgspec.json.decode(line, type=Entry)
    if entry.schema > SCHEMA_VERSION:
        raise LearningError(f"{where} was written by a newer edgead", "Upgrade, or give another folder.")
    return entry


class Journal:
    """The file, open and locked. One process at a time.

    Args:
        path: Made where there is none; its folder must exist.

    Raises:
        LearningError: Another process uses it, or it is damaged.
        OutputError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: IO[bytes] = path.open("ab+", buffering=0)
        except OSError as error:
            raise output_error(path, error) from error
        try:
            _lock(self._file, path)
            self.entries = self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> list[Entry]:
        data = _whole(self._file, self.path)
        entries, end = parse_journal(data, str(self.path))
        if end < len(data):
            log.warning("%s: the last line was never finished; it is cut off", self.path)
            self._file.truncate(end)
        elif data and not data.endswith(b"\n"):
            self._write(b"\n")
        return entries

    def append(self, entry: Entry) -> None:
        """Write a line; when this returns it is on the medium.

        Raises:
            OutputError: It cannot be written; the journal is as it was.
        """
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._write(msgspec.json.encode(entry) + b"\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise output_error(self.path, error) from error
        self.entries.append(entry)

    def _write(self, data: bytes) -> None:
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file.fileno())

    def undone(self) -> frozenset[str]:
        """Ids of the lessons that were taken back."""
        return frozenset(entry.undoes for entry in tuple(self.entries) if entry.undoes is not None)

    def find(self, lesson_id: str) -> Entry | None:
        """The entry of an id."""
        return next((entry for entry in self.entries if entry.id == lesson_id), None)

    def lessons(self, limit: int) -> list[Lesson]:
        """The last ones, newest first. From any thread, also while a lesson is being taken."""
        entries, undone = tuple(self.entries), self.undone()
        newest = reversed(entries[max(0, len(entries) - limit) :])
        return [entry.lesson(undone=entry.id in undone) for entry in newest]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def check_journal(path: Path) -> list[Entry]:
    """Whether a journal could be opened now; it is left as it is.

    Returns:
        Its entries.

    Raises:
        LearningError: Another process uses it, or it is damaged.
        OutputError: It cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            _lock(file, path)
            return parse_journal(_whole(file, path), str(path))[0]
    except OSError as error:
        raise output_error(path, error) from error


def _lock(file: IO[bytes], path: Path) -> None:
    """Let go by the system when the process ends, however it ends. On Windows nothing is locked."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LearningError(
            f"{path} is in use by another process", "Stop that, or give each loop its own folder."
        ) from error


def _whole(file: IO[bytes], path: Path) -> bytes:
    file.seek(0)
    data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise LearningError(f"{path} is larger than a journal can be", "Give another folder.")
    return data


def folder_for(path: Path) -> Path:
    """Make a folder.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise OutputError(f"{path} is a file", "Choose another folder.") from error
        raise output_error(path, error) from error
    return path
