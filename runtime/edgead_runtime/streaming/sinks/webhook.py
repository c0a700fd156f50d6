"""Messages to a web address."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping

from edgead_runtime.errors import ConfigError, SinkError, SinkRefusedError
from edgead_runtime.streaming.sinks.base import Sink
from edgead_runtime.streaming.sources.rtsp import without_password
from edgead_runtime.streaming.stored import StoredMessage

_NEVER_TAKEN = frozenset({400, 413, 415, 422})
"""The receiver understood, and will not take this message. Others (401, 404, 5xx) can be mended there."""


class Webhook(Sink):
    """POSTs each message as JSON; an answer 2xx takes it.

    Args:
        url: Where to; http or https.
        headers: Sent along, e.g. ``Authorization``.
        pictures: Put the attachments into the JSON as base64, under ``files``.
        timeout_s: For an answer.
        kinds: Only messages of these kinds; empty: all.

    Raises:
        ConfigError: It is no web address.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        pictures: bool = False,
        timeout_s: float = 10.0,
        kinds: tuple[str, ...] = (),
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no web address", "Give http://... or https://...")
        self._url, self._headers, self._pictures = url, dict(headers or {}), pictures
        self._timeout_s, self._kinds = timeout_s, kinds
        self._shown = without_password(url)
        self.name = f"webhook {self._shown}"

    def send(self, message: StoredMessage) -> None:
        """POST one message.

        Raises:
            SinkRefusedError: 400, 413, 415 or 422.
            SinkError: No answer, or another one.
        """
        if self._kinds and message.kind not in self._kinds:
            return
        fields = message.as_dict()
        if self._pictures:
            fields["files"] = {
                name: base64.b64encode(data).decode() for name, data in message.attachments.items()
            }
        request = urllib.request.Request(  # noqa: S310  (the scheme was checked)
            self._url,
            json.dumps(fields, ensure_ascii=False).encode(),
            {"Content-Type": "application/json", "User-Agent": "edgead", **self._headers},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310
                answer.read(1)
        except urllib.error.HTTPError as error:
            kind = SinkRefusedError if error.code in _NEVER_TAKEN else SinkError
            raise kind(f"{self._shown} answers {error.code}", "See the receiver's log.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SinkError(f"{self._shown} cannot be reached ({reason})", "It is tried again.") from error
