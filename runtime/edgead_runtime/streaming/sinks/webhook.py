"""Messages to a web address."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from edgead_runtime.errors import ConfigError, SinkError, SinkRefusedError
from edgead_runtime.streaming.shown import shown_address, without_secrets
from edgead_runtime.streaming.sinks.base import Sink
from edgead_runtime.streaming.stored import StoredMessage

_NEVER_TAKEN = frozenset({400, 413, 415, 422})
"""The receiver understood, and will not take this message. Others (401, 404, 5xx) can be mended there."""


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """A redirect would make a GET without a body of our POST, and its good answer would be none."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Webhook(Sink):
    """POSTs each message as JSON; an answer 2xx takes it.

    Args:
        url: Where to; http or https. ``user:password@`` in it is sent as basic authentication.
        headers: Sent along, e.g. ``Authorization``.
        pictures: Put the attachments into the JSON as base64, under ``files``.
        timeout_s: For an answer.
        kinds: Only messages of these kinds, also of kinds of your own; empty: all.

    Raises:
        ConfigError: It is no web address, or a header none that can be sent.
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
        self._shown = shown_address(url)
        self._url, login = _split_login(url, self._shown)
        self._headers, self._pictures = {**login, **_checked(headers or {})}, pictures
        self._timeout_s, self._kinds = timeout_s, kinds
        self._opener = urllib.request.build_opener(_NoDetour)
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
        try:
            request = urllib.request.Request(  # noqa: S310  (the scheme was checked)
                self._url,
                json.dumps(fields, ensure_ascii=False).encode(),
                {"Content-Type": "application/json", "User-Agent": "edgead", **self._headers},
                method="POST",
            )
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._answered(error.code, error.headers.get("Location")) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = without_secrets(str(getattr(error, "reason", None) or error))
            raise SinkError(f"{self._shown} cannot be reached ({reason})", "It is tried again.") from error

    def _answered(self, code: int, moved_to: str | None) -> SinkError:
        problem = f"{self._shown} answers {code}"
        if moved_to is not None and 300 <= code < 400:
            return SinkError(f"{problem}: it moved to {shown_address(moved_to)}", "Give that address.")
        kind = SinkRefusedError if code in _NEVER_TAKEN else SinkError
        return kind(problem, "See the receiver's log.")


def _split_login(url: str, shown: str) -> tuple[str, dict[str, str]]:
    """The address without ``user:password@``, which urllib would take for a port; and it as a header."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or " " in url:
        raise ConfigError(f"{shown!r} is no web address", "Give http://... or https://...")
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    secret = base64.b64encode(unquote(login).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {secret}"}


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that can be sent; what is wrong with one is said without its value, which may be a secret."""
    for name, value in headers.items():
        if not name or not name.isascii() or not name.isprintable() or set(name) & set(": "):
            raise ConfigError(f"{name!r} is no name for a header", "Give one like Authorization.")
        if not value.isascii() or not value.isprintable():
            raise ConfigError(
                f"the header {name} has letters that cannot be sent", "Look for a line break at its end."
            )
    return headers
