"""Messages in files: JSON lines, CSV, and lines on stdout."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import sys
from pathlib import Path
from typing import IO, Any

from edgead_runtime.streaming.sinks.base import Sink
from edgead_runtime.streaming.stored import StoredMessage

CSV_COLUMNS = (
    "at",
    "kind",
    "camera",
    "id",
    "state",
    "zone",
    "score",
    "threshold",
    "duration_s",
    "frames",
    "hits",
    "reason",
    "trouble",
    "drift",
    "text",
    "lesson",
    "who",
    "picture",
)
"""New ones come at the end, so that whoever goes by the place of a column finds it."""


class _RotatingFile(Sink):
    """Appends to a file; full ones become ``NAME.1``, ``NAME.2`` and so on, the oldest of which goes.

    Args:
        path: The file.
        max_mb: Size at which it is full.
        keep: Full files to keep.
    """

    def __init__(self, path: str | Path, *, max_mb: float = 50.0, keep: int = 5) -> None:
        self._path, self._max_bytes, self._keep = Path(path), int(max_mb * 1e6), keep
        self.name = f"{type(self).__name__.lower()} {self._path}"
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        """Open the file, and its folder where there is none."""
        self._opened()

    def _opened(self) -> IO[bytes]:
        if self._file is not None:
            if self._is_still_there(self._file):
                return self._file
            self.close()  # removed, or moved by logrotate: what is written there now would be seen by nobody
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._is_of_another_kind():
            self._rotate(max(1, self._keep))
        self._file = file = self._path.open("ab+", buffering=0)
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                _append(file, b"\n")  # a power cut left half a line; the next one is to be whole
        else:
            _append(file, self._header())
        return file

    def _is_still_there(self, file: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _is_of_another_kind(self) -> bool:
        """Whether the file begins otherwise than ours: an earlier version had other columns."""
        header = self._header()
        if not header or not self._path.is_file():
            return False
        with self._path.open("rb") as file:
            return file.read(len(header)) not in (header, b"")

    def send(self, message: StoredMessage) -> None:
        """Append; on the medium only when the system writes it, so the outbox is the safer place."""
        file = self._opened()
        line = self._line(message)
        if file.tell() > 0 and file.tell() + len(line) > self._max_bytes:
            self._rotate(self._keep)
            file = self._opened()
        _append(file, line)

    def _rotate(self, keep: int) -> None:
        self.close()
        for number in range(keep, 0, -1):
            older = self._numbered(number)
            if older.exists():
                if number == keep:
                    older.unlink()
                else:
                    older.replace(self._numbered(number + 1))
        if keep > 0:
            self._path.replace(self._numbered(1))
        else:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _header(self) -> bytes:
        return b""

    def _line(self, message: StoredMessage) -> bytes:
        raise NotImplementedError


def _append(file: IO[bytes], data: bytes) -> None:
    """Write all of it or, on a full disk, nothing."""
    start = file.seek(0, os.SEEK_END)
    try:
        written = file.write(data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(start)
        raise


class JsonLines(_RotatingFile):
    """One JSON object a message, in UTF-8; the fields are in docs/loop.md."""

    def _line(self, message: StoredMessage) -> bytes:
        return message.as_json().encode() + b"\n"


class Csv(_RotatingFile):
    """One row a message, for a spreadsheet; each file begins with the names of the columns.

    Of a lesson it has kind, words, who and picture; fingerprints and patches are in :class:`JsonLines` alone.
    A file with other columns, of an earlier version, is kept as ``NAME.1``.
    """

    def _header(self) -> bytes:
        return _row(CSV_COLUMNS)

    def _line(self, message: StoredMessage) -> bytes:
        fields = message.as_dict()
        return _row([_cell(fields.get(column, "")) for column in CSV_COLUMNS])


def _row(values: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    # A line break would be two rows to whoever reads lines, and a leading = a formula to a spreadsheet.
    if isinstance(value, str):
        value = " ".join(value.split())
        return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value
    return value


class Lines(Sink):
    """JSON lines on a stream, for a gateway that reads a pipe.

    Args:
        stream: Where to; ``None``: stdout.
    """

    name = "lines"

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream

    def send(self, message: StoredMessage) -> None:
        """Write one line and flush."""
        stream = self._stream or sys.stdout
        stream.write(message.as_json() + "\n")
        stream.flush()
