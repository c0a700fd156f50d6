"""Addresses as they may be shown: in log lines, messages and numbers, without what lets somebody in."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_HIDDEN = "***"
_LONG = 20
"""Letters of a part of a path that is taken for a secret: Home Assistant and others put theirs there."""
_SHOWN = 4
_DIGITS = 2
"""Of a number in a query that is a channel and no secret."""
_IN_TEXT = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_LOGIN = re.compile(r"([^\s/:@]+):[^\s/@]+@")
"""Also of what was meant to be an address and is none."""


def shown_address(url: str) -> str:
    """An address without password, without the values of its query, and without long parts of its path.

    ``rtsp://user:***@camera/stream?channel=1&key=***``. One address is always shown alike.
    """
    try:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        name, colon, _ = user.partition(":")
        place = f"{name}{colon}{_HIDDEN if colon else ''}{at}{host}"
        path = "/".join(map(_shown_part, parts.path.split("/")))
        query = "&".join(map(_shown_value, parts.query.split("&"))) if parts.query else ""
        return urlunsplit((parts.scheme, place, path, query, ""))
    except ValueError:
        return "an address that cannot be read"


def without_secrets(text: str) -> str:
    """What a driver or a library said, with each address in it as :func:`shown_address` has it."""
    return _LOGIN.sub(rf"\1:{_HIDDEN}@", _IN_TEXT.sub(lambda found: shown_address(found[0]), text))


def _shown_part(part: str) -> str:
    return part if len(part) < _LONG else f"{part[:_SHOWN]}{_HIDDEN}"


def _shown_value(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return _shown_part(pair)
    is_small_number = value.isdecimal() and len(value) <= _DIGITS
    return f"{name}={value if is_small_number else _HIDDEN}"
