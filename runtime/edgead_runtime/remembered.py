"""What was measured on this machine once, kept in the cache folder: one JSON file a subject, by key.

A file holds the last :data:`MOST_ENTRIES`: every export and every enrolment is a key of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from edgead_runtime.errors import OutputError
from edgead_runtime.files import remove_leftovers, write_atomic
from edgead_runtime.json_text import UNREADABLE

MOST_ENTRIES = 256

_Entry = TypeVar("_Entry", bound=msgspec.Struct)


def recall(path: Path, kind: type[_Entry]) -> dict[str, _Entry]:
    """What is remembered; nothing where the file is missing or damaged, since it can be measured again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, kind])  # type: ignore[valid-type]
    except (OSError, *UNREADABLE):
        return {}


def remember(path: Path, key: str, entry: msgspec.Struct) -> None:
    """Add an entry to what is remembered, or replace it; the oldest is forgotten where there are too many."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        others = {known: old for known, old in recall(path, type(entry)).items() if known != key}
        kept = dict([*others.items(), (key, entry)][-MOST_ENTRIES:])
        write_atomic(path, msgspec.json.format(msgspec.json.encode(kept)))
    except (OSError, OutputError):
        pass  # a machine without a place for it measures every time
