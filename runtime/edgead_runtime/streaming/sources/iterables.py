"""Frames from any Python iterable: a camera's own library, a test, a generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgead_runtime.errors import SourceError
from edgead_runtime.images import Frame, Picture, check_frame
from edgead_runtime.streaming.sources.base import EndOfSourceError, Grab


class Frames:
    """Frames ``[H, W, 3]`` uint8, BGR, or named :class:`~edgead_runtime.Picture` objects; ends with them.

    Args:
        frames: What gives them. It is iterated in the capture thread. A frame is copied only where the stream
            crops it, so it must not be written to afterwards.
        live: They come whether we are ready or not: the newest wins and the rest is dropped. Otherwise the
            iterable is kept waiting.
        label: What a person calls it.
    """

    paces_itself = True

    def __init__(
        self, frames: Iterable[Frame | Picture], *, live: bool = False, label: str = "frames"
    ) -> None:
        self._frames = frames
        self.live = live
        self.label = label

    def open(self) -> _Iterating:
        """Begin to iterate."""
        return _Iterating(iter(self._frames), self.label)


class _Iterating:
    def __init__(self, frames: Iterator[Frame | Picture], label: str) -> None:
        self._frames = frames
        self._label = label

    def read(self) -> Grab:
        try:
            item = next(self._frames)
        except StopIteration:
            raise EndOfSourceError from None
        except (SourceError, EndOfSourceError):
            raise
        except Exception as error:
            # After an exception a generator only ends, which would look like a good end.
            raise SourceError(
                f"{self._label} raised {type(error).__name__}: {error}", "Mend what gives the frames."
            ) from error
        if isinstance(item, Picture):
            return Grab(item.frame, item.name)
        return Grab(check_frame(item))

    def close(self) -> None:
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()
