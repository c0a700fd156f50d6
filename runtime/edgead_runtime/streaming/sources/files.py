"""Pictures from files: one, a folder, or a folder that an inspection cell keeps filling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgead_runtime.errors import PictureError, SourceError, SourceLostError
from edgead_runtime.images import PICTURE_SUFFIXES, find_pictures, read_picture
from edgead_runtime.streaming.sources.base import EndOfSourceError, Grab


@dataclass(frozen=True)
class Pictures:
    """A picture, or the pictures in a folder in the order of their names; ends with the last."""

    path: Path
    live: bool = field(default=False, init=False)
    paces_itself: bool = field(default=False, init=False)

    @property
    def label(self) -> str:
        """The path."""
        return str(self.path)

    def open(self) -> _ReadingFiles:
        """List them.

        Raises:
            SourceError: There is no such path, or no picture in it.
        """
        try:
            return _ReadingFiles(find_pictures([self.path]))
        except PictureError as error:
            raise SourceError(error.problem, error.remedy) from error


class _ReadingFiles:
    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = iter(paths)

    def read(self) -> Grab:
        path = next(self._paths, None)
        if path is None:
            raise EndOfSourceError
        return Grab(read_picture(path).frame, path.name)

    def close(self) -> None:
        return


@dataclass(frozen=True)
class WatchedFolder:
    """A folder into which something else puts pictures; never ends.

    Only whole files are taken: one whose size and time stayed the same for ``settle_s`` and that decodes. One
    that is still being written decodes later; one that does not decode within ``give_up_s`` after its last
    change is reported as not inspected. Names that begin with a dot are left alone, so whoever can should
    write to such a name and rename. In the order of their last change, then name.

    Polled, since inotify does not see what another machine writes to a network share, which is how
    inspection cells deliver.
    """

    path: Path
    poll_s: float = 0.1
    """Seconds between two looks."""
    settle_s: float = 0.2
    """Seconds without a change after which a file counts as whole."""
    give_up_s: float = 10.0
    """Seconds after the last change at which a file that does not decode is reported."""
    new_only: bool = False
    """Leave what is there at the start alone. Otherwise a restart inspects again what is still there."""
    live: bool = field(default=False, init=False)
    paces_itself: bool = field(default=False, init=False)

    @property
    def label(self) -> str:
        """The path."""
        return f"watch:{self.path}"

    def open(self) -> _Watching:
        """Begin to watch.

        Raises:
            SourceLostError: The folder is not there (a network share may come back).
        """
        return _Watching(self)


@dataclass
class _Candidate:
    state: tuple[int, int]
    """Size and time of the last change, nanoseconds."""
    since: float
    """Since when it has been so."""
    problem: PictureError | None = None
    """Why it did not decode in this state."""


class _Watching:
    def __init__(self, folder: WatchedFolder) -> None:
        self._folder = folder
        self._done: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, _Candidate] = {}
        if folder.new_only:
            self._done = self._listing()
        else:
            self._listing()

    def read(self) -> Grab | None:
        now = time.monotonic()
        listing = self._listing()
        # What is gone is forgotten: a cell that deletes its pictures does not fill our memory.
        self._done = {name: state for name, state in self._done.items() if name in listing}
        self._waiting = {name: seen for name, seen in self._waiting.items() if name in listing}
        for name, state in sorted(listing.items(), key=lambda entry: (entry[1][1], entry[0])):
            if self._done.get(name) == state:
                continue
            seen = self._waiting.get(name)
            if seen is None or seen.state != state:
                self._waiting[name] = _Candidate(state, now)
            elif now - seen.since >= self._folder.settle_s:
                grab = self._try(name, seen, now)
                if grab is not None:
                    return grab
        time.sleep(self._folder.poll_s)
        return None

    def _try(self, name: str, seen: _Candidate, now: float) -> Grab | None:
        """Read a file that has settled; ``None`` if it does not decode yet or has gone."""
        if seen.problem is None:
            try:
                picture = read_picture(self._folder.path / name)
            except PictureError as error:
                seen.problem = error  # not decoded again until it changes
            else:
                self._finish(name, seen)
                return Grab(picture.frame, name)
        if now - seen.since < self._folder.give_up_s or not (self._folder.path / name).exists():
            return None
        self._finish(name, seen)
        raise seen.problem

    def _finish(self, name: str, seen: _Candidate) -> None:
        self._done[name] = seen.state
        del self._waiting[name]

    def _listing(self) -> dict[str, tuple[int, int]]:
        found = {}
        try:
            for path in self._folder.path.iterdir():
                if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith("."):
                    try:
                        facts = path.stat()
                    except FileNotFoundError:
                        continue
                    found[path.name] = (facts.st_size, facts.st_mtime_ns)
        except OSError as error:
            raise SourceLostError(
                f"cannot list {self._folder.path}: {error.strerror or error}",
                "Make the folder, or mount the share; it is tried again.",
            ) from error
        return found

    def close(self) -> None:
        return
