"""What was measured on this machine once, kept in the cache folder: one JSON file a subject, by key."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from edgead_runtime.errors import OutputError
from edgead_runtime.files import write_atomic

_Entry = TypeVar("_Entry", bound=msgspec.Struct)


def recall(path: Path, kind: type[_Entry]) -> dict[str, _Entry]:
    """What is remembered; nothing where the file is missing or damaged, since it can be measured again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, kind])  # type: ignore[valid-type]
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def remember(path: Path, key: str, entry: msgspec.Struct) -> None:
    """Add an entry to what is remembered, or replace it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {**recall(path, type(entry)), key: entry}
        write_atomic(path, msgspec.json.format(msgspec.json.encode(known)))
    except (OSError, OutputError):
        pass  # a machine without a place for it measures every time
