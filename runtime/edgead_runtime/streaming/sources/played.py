"""Pictures as a camera would give them: one after the other, over and over, whether we are ready or not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgead_runtime.errors import ConfigError, PictureError, SourceError
from edgead_runtime.images import find_pictures, read_picture
from edgead_runtime.streaming.sources.base import Grab

_LONGEST_READ_S = 0.5


@dataclass(frozen=True)
class PlayedPictures:
    """Pictures played as a camera; to try out a loop without one.

    Args:
        paths: Pictures and folders, in this order; those of a folder in the order of their names.
        per_second: Pictures a second.
    """

    paths: Sequence[Path]
    per_second: float = 1.0
    live: bool = field(default=True, init=False)
    paces_itself: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not self.per_second > 0:
            raise ConfigError(f"per_second is {self.per_second}", "Give pictures a second above 0.")

    @property
    def label(self) -> str:
        """The first path."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"play:{self.paths[0]}{more}" if self.paths else "play:"

    def open(self) -> _Playing:
        """List them.

        Raises:
            SourceError: A path is not there, or no picture is in them.
        """
        try:
            found = find_pictures(self.paths)
        except PictureError as error:
            raise SourceError(error.problem, error.remedy) from error
        if not found:
            raise SourceError(f"there is no picture in {self.label}", "Give pictures, or folders of them.")
        return _Playing(found, 1 / self.per_second)


class _Playing:
    def __init__(self, paths: Sequence[Path], period_s: float) -> None:
        self._paths, self._period_s = tuple(paths), period_s
        self._next = 0
        self._due_s = time.monotonic()

    def read(self) -> Grab | None:
        wait_s = self._due_s - time.monotonic()
        time.sleep(min(max(0.0, wait_s), _LONGEST_READ_S))
        if wait_s > _LONGEST_READ_S:
            return None
        # A pause (a suspended machine) is not made up for by a burst.
        self._due_s = max(self._due_s, time.monotonic() - self._period_s) + self._period_s
        path = self._paths[self._next]
        self._next = (self._next + 1) % len(self._paths)
        return Grab(read_picture(path).frame, path.name)

    def close(self) -> None:
        return
