"""What a browser may say: small JSON objects, checked field by field."""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from edgead_runtime.errors import EdgeadError

MAX_BYTES = 4096
"""Of a request's body, and of a message over the WebSocket."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Sequence = Annotated[int, Meta(ge=0)]
Who = Annotated[str, Meta(max_length=60)]


class NotUnderstoodError(EdgeadError):
    """A browser said something that is no request."""


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Command(_Said, frozen=True, kw_only=True):
    """What changes something."""

    camera: Name
    run: Name
    """Of the loop, as the page was told it."""
    who: Who = ""


class OfFrame(Command, frozen=True, kw_only=True):
    """This is good, or this is a defect: the frame of that number."""

    sequence: Sequence


class Undo(Command, frozen=True, kw_only=True):
    """Take that lesson back."""

    lesson: Name


class MoveThreshold(Command, frozen=True, kw_only=True):
    """Move the threshold there; ``null``: back."""

    threshold: Annotated[float, Meta(ge=0)] | None


class Wish(_Said, frozen=True):
    """What a page says over its WebSocket."""

    do: Literal["camera", "ready", "hold", "release", "event"]
    """Show another camera; send the next picture; keep the one of this number; go on; show an event."""
    camera: Name | None = None
    run: Name | None = None
    """With the number: of which run that frame is."""
    sequence: Sequence | None = None
    event: Name | None = None


T = TypeVar("T", bound=_Said)


def understand(data: bytes | str, kind: type[T]) -> T:
    """A request from its bytes.

    Raises:
        NotUnderstoodError: It is none.
    """
    problem = "it is nested too deeply"
    with contextlib.suppress(RecursionError):
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeError, ValueError) as error:
            problem = str(error)
    raise NotUnderstoodError(f"the request is not understood ({problem})", "Load the page again.")


def person(said: str, address: str) -> str:
    """Whom to write into the log: what they call themselves, and where they are."""
    name = "".join(letter for letter in said if letter.isprintable()).strip()
    return f"{name} ({address})" if name else address
