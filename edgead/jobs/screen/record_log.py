"""A growing file of arrays that can be cut off anywhere and gone on with."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import numpy as np
from edgead_runtime.errors import OutputError
from edgead_runtime.files import output_error
from edgead_runtime.json_text import UNREADABLE
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one entry; ``record`` is the hash of its array, empty where it has none."""

    record: str = ""


_L = TypeVar("_L", bound=Line)


class RecordLog(Generic[_L]):
    """Arrays of one shape in ``NAME.f32``, and one line for each entry in ``NAME.jsonl``.

    The array is written first and its hash stands in the line, so an entry counts only if all of it is there,
    also after a power cut. Opening forgets what follows the last whole entry. The arrays are read in parts
    and never mapped: mapped pages would count as memory of the process. Not safe for two processes at once.

    Args:
        folder: Existing folder.
        name: Of both files.
        shape: Of each array.
        line_type: Of each line.

    Raises:
        OutputError: The files cannot be opened.
    """

    def __init__(self, folder: Path, name: str, shape: tuple[int, ...], line_type: type[_L]) -> None:
        self._data_path = folder / f"{name}.f32"
        self._lines_path = folder / f"{name}.jsonl"
        self._record_shape = shape
        self._record_bytes = 4 * math.prod(shape)
        self._line_type = line_type
        self.lines: list[_L] = []
        self._records = 0
        try:
            for path in (self._data_path, self._lines_path):
                path.touch()
            self._data = self._data_path.open("r+b")
            self._text = self._lines_path.open("r+b")
            self._recover()
        except OSError as error:
            raise output_error(folder, error) from error

    def _recover(self) -> None:
        whole = 0
        for raw in self._text:
            line = self._check(raw)
            if line is None:
                break
            self.lines.append(line)
            self._records += bool(line.record)
            whole += len(raw)
        self._text.truncate(whole)
        self._text.seek(whole)
        self._data.truncate(self._records * self._record_bytes)

    def _check(self, raw: bytes) -> _L | None:
        """A line whose record is there, or ``None``."""
        if not raw.endswith(b"\n"):
            return None
        try:
            line = msgspec.json.decode(raw, type=self._line_type)
        except UNREADABLE:
            return None
        if line.record:
            self._data.seek(self._records * self._record_bytes)
            if _digest(self._data.read(self._record_bytes)) != line.record:
                return None
        return line

    def append(self, line: _L, record: Floats | None = None) -> None:
        """Add an entry.

        Args:
            line: What is known of it.
            record: Its array, where it has one.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            if record is not None:
                data = np.ascontiguousarray(record, dtype=np.float32).tobytes()
                self._data.seek(self._records * self._record_bytes)
                self._data.write(data)
                self._data.flush()
                line = msgspec.structs.replace(line, record=_digest(data))
            self._text.write(msgspec.json.encode(line) + b"\n")
            self._text.flush()
        except OSError as error:
            raise output_error(self._data_path, error) from error
        self.lines.append(line)
        self._records += record is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all arrays together: (records, ...)."""
        return self._records, *self._record_shape

    def __getitem__(self, part: slice, /) -> Floats:
        """Some arrays ``[count, ...]``, read anew.

        Raises:
            OutputError: The file is not what was written.
        """
        start, stop, _ = part.indices(self._records)
        block = np.empty((max(0, stop - start), *self._record_shape), dtype=np.float32)
        try:
            self._data.seek(start * self._record_bytes)
            read = self._data.readinto(block.data.cast("B")) if block.size else 0
        except OSError as error:
            raise output_error(self._data_path, error) from error
        if read != block.nbytes:
            raise OutputError(f"{self._data_path} was cut short", "Start again with --overwrite.")
        return block

    def clear(self) -> None:
        """Forget every entry."""
        self._data.truncate(0)
        self._text.truncate(0)
        self._text.seek(0)
        self.lines.clear()
        self._records = 0

    def close(self) -> None:
        """Close the files."""
        self._data.close()
        self._text.close()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
