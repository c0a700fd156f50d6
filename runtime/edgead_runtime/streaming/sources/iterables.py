"""Frames from any Python iterable: a camera's own library, a test, a generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgead_runtime.errors import SourceError
from edgead_runtime.images import Frame, Picture, check_frame
from edgead_runtime.streaming.sources.base import EndOfSourceError, Grab


class Frames:
    """Frames ``[H, W, 3]`` uint8, BGR, or named :class:`~edgead_runtime.Picture` objects; ends with them.

    Args:
        frames: What gives them. It is iterated in the capture thread.
        live: They come whether we are ready or not: the newest wins and the rest is dropped. Otherwise the
            iterable is kept waiting.
        label: What a person calls it.
        copy: Copy each frame, so that whoever gives them may fill its buffer anew at once, as most cameras'
            libraries do: a frame is still inspected, shown and kept long after the next was asked for.
            Without it each frame must be an array of its own that is never written
            to again.
    """

    paces_itself = True

    def __init__(
        self,
        frames: Iterable[Frame | Picture],
        *,
        live: bool = False,
        label: str = "frames",
        copy: bool = True,
    ) -> None:
        self._frames, self._copy = frames, copy
        self.live = live
        self.label = label

    def open(self) -> _Iterating:
        """Begin to iterate."""
        return _Iterating(iter(self._frames), self.label, self._copy)


class _Iterating:
    def __init__(self, frames: Iterator[Frame | Picture], label: str, copy: bool) -> None:
        self._frames, self._copy = frames, copy
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
        name = item.name if isinstance(item, Picture) else ""
        frame = check_frame(item.frame if isinstance(item, Picture) else item)
        return Grab(frame.copy() if self._copy else frame, name)

    def close(self) -> None:
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()
