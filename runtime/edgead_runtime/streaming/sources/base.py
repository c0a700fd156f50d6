"""What a source of frames is: a description that can be opened, and what is open then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from edgead_runtime.images import Frame


class EndOfSourceError(Exception):
    """There is nothing more to come: the end of a file, a folder or an iterable. No failure."""


@dataclass(frozen=True, eq=False)
class Grab:
    """What one read gave."""

    image: Frame = field(repr=False)
    """``[H, W, 3]`` uint8, BGR."""
    name: str = ""
    """The file it is from, where there is one."""


class Session(Protocol):
    """A source that is open. Belongs to one thread; a hung one is abandoned and another opened."""

    def read(self) -> Grab | None:
        """Wait for the next frame.

        Its array is the stream's from then on: still inspected, shown and kept long after the next read. One
        that is filled anew must be copied first.

        Returns:
            The frame, or ``None`` where none came within about half a second and that is no failure.

        Raises:
            EndOfSourceError: There will be no more.
            SourceLostError: The connection is gone; opening again may help.
            PictureError: This one frame is unusable; the next may be good.
        """
        ...

    def close(self) -> None:
        """Release it; may be called twice."""
        ...


class Source(Protocol):
    """Where frames come from. Holds no connection; :meth:`open` makes one."""

    @property
    def label(self) -> str:
        """What a person calls it; never holds a password."""
        ...

    @property
    def live(self) -> bool:
        """Whether it goes on without us, so that a frame not taken in time is dropped. Otherwise it waits."""
        ...

    @property
    def paces_itself(self) -> bool:
        """Whether ``read`` may rightly take forever (an iterable of somebody else's), so no watchdog."""
        ...

    def open(self) -> Session:
        """Connect.

        Raises:
            SourceLostError: It cannot be reached now; worth another try.
            SourceError: It can never be opened as given.
        """
        ...
