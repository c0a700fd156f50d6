"""JSON from outside."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that is none; what its checks of UTF-8 and nesting raise it lets through."""
