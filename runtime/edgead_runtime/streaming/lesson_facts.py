"""What is written down of a picture that was taught, and of who taught it."""

from __future__ import annotations

from dataclasses import dataclass

from edgead_runtime.images import Frame, Picture, check_frame, encode_png, frame_digest

_WHO_CHARACTERS = 200


@dataclass(frozen=True)
class PictureFacts:
    """A picture as it came."""

    frame: Frame
    """A copy: the camera's library may fill its buffer anew."""
    png: bytes
    name: str
    digest: str
    width: int
    height: int

    @classmethod
    def of(cls, picture: Picture) -> PictureFacts:
        """Of a picture, which is copied.

        Raises:
            PictureError: It is no frame.
        """
        frame = check_frame(picture.frame).copy()
        height, width = frame.shape[:2]
        return cls(frame, encode_png(frame), printable(picture.name), frame_digest(frame), width, height)

    def kept_as(self, name: str) -> Picture:
        """As it goes into the bank."""
        return Picture(name, self.frame, self.png)


def printable(text: str) -> str:
    """A name as anybody may have typed it: one line, not too long, and such that it can be written."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())[:_WHO_CHARACTERS].encode("utf-8", errors="replace").decode()
