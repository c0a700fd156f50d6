"""From what the loop tells to what waits on the disk: pictures become bytes, bodies become plain data."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.stored import StoredMessage

log = logging.getLogger("edgead.delivery")


def encoded(message: Message) -> StoredMessage:
    """Pictures made to bytes, the body to plain data; a picture that cannot be made is left out."""
    attachments = {}
    for name, make in message.attachments.items():
        try:
            attachments[name] = make()
        except Exception:
            log.exception("%s of %s could not be made; the message goes without", name, message.key)
    return StoredMessage(
        message.kind,
        message.camera,
        message.key,
        message.state,
        message.at,
        _plain(message.body),
        attachments,
    )


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """As every sink can write it: a message that none can write would stand in the way of all others.

    What is no number becomes null, letters that are none (a file name of foreign bytes) a question mark, and
    what JSON does not know its text.
    """
    text = json.dumps(dict(body), ensure_ascii=False, default=str)
    plain: dict[str, Any] = json.loads(
        text.encode("utf-8", errors="replace").decode(), parse_constant=lambda _: None
    )
    return plain
