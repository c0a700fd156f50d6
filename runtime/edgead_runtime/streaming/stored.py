"""A message as it waits and as sinks get it: plain data and bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1
_OVERHEAD_BYTES = 200


@dataclass(frozen=True)
class StoredMessage:
    """What :class:`~edgead_runtime.streaming.Message` becomes once its pictures are encoded."""

    kind: str
    camera: str
    key: str
    state: str
    at: str
    body: Mapping[str, Any]
    attachments: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    number: int = 0
    """Its place in the order, given by the outbox; 0 for the outbox's own notice of a loss."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; attachments are named in it."""
        return {
            "schema": SCHEMA_VERSION,
            "kind": self.kind,
            "camera": self.camera,
            "id": self.key,
            "state": self.state,
            "at": self.at,
            **self.body,
            "attachments": sorted(self.attachments),
        }

    def as_json(self) -> str:
        """One line."""
        return json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False)

    @property
    def picture_bytes(self) -> int:
        """Bytes of its attachments."""
        return sum(map(len, self.attachments.values()))

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return _OVERHEAD_BYTES + len(json.dumps(dict(self.body))) + self.picture_bytes


@dataclass
class Loss:
    """What a sink never got, because more waited than the quota allows."""

    messages: int = 0
    updates: int = 0
    pictures: int = 0

    def __bool__(self) -> bool:
        return bool(self.messages or self.updates or self.pictures)

    @property
    def text(self) -> str:
        """For a person."""
        return (
            f"lost, since more waited than the outbox may hold: {self.messages} messages, {self.updates} "
            f"updates, pictures of {self.pictures} messages"
        )

    def plus(self, other: Loss) -> Loss:
        """Both together."""
        return Loss(
            self.messages + other.messages, self.updates + other.updates, self.pictures + other.pictures
        )

    def minus(self, other: Loss) -> Loss:
        """What is left once ``other`` was told."""
        return Loss(
            self.messages - other.messages, self.updates - other.updates, self.pictures - other.pictures
        )
