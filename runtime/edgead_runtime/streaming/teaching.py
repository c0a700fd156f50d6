"""What teaches the detectors of a running loop, as whoever offers the buttons sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edgead_runtime.images import Picture


@dataclass(frozen=True)
class Lesson:
    """One thing that a person said of a picture."""

    id: str
    camera: str
    kind: Literal["good", "defect", "undo"]
    at: float
    """Wall clock, seconds since 1970."""
    who: str
    picture: str
    """Its name."""
    undoes: str | None = None
    """The id of the lesson that this takes back."""
    undone: bool = False


class Teacher(Protocol):
    """Takes lessons from people; any thread may call."""

    def add_good(self, camera: str, picture: Picture, who: str) -> Lesson:
        """This part is good: the camera's detector knows it from the next frame on.

        Raises:
            EdgeadError: It cannot be learned.
        """
        ...

    def keep_defect(self, camera: str, picture: Picture, who: str) -> Lesson:
        """This part is defective: keep the picture for later.

        Raises:
            EdgeadError: It cannot be kept.
        """
        ...

    def undo(self, camera: str, lesson_id: str, who: str) -> Lesson:
        """Take a lesson back.

        Raises:
            EdgeadError: It cannot be taken back.
        """
        ...

    def lessons(self, camera: str, limit: int = 50) -> Sequence[Lesson]:
        """What it was taught, newest first."""
        ...
