"""Pictures from files, as the frames a camera would give: ``[H, W, 3]`` uint8, BGR.

Pillow decodes, because it refuses truncated files where OpenCV returns half a picture, and half a picture
looks like a defect.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edgead_runtime.errors import PictureError
from edgead_runtime.tensorrt.on_device import is_on_device

Frame = NDArray[np.uint8]

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".jp2", ".pgm", ".ppm"}
)
TO_THE_HOST = "Copy it to the host first (torch: .cpu().numpy(), CuPy: .get())"
"""What to do with a frame on a GPU that cannot be taken there."""
MIN_SIDE_PX = 16
MAX_PIXELS = 175_000_000
"""About 525 MB decoded. Above it a picture is refused rather than the machine brought to its knees.
Pillow's own limit is just above."""

# How Pillow's decoders name 16 bits per channel of colour, which it cuts to 8 on the way in.
_SIXTEEN_BIT_COLOR = re.compile(r";16|\b65535\b")
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_TWELVE_BIT_MAX = 4095


class Picture:
    """A named frame and, where it came from a file, that file's bytes as they were.

    Args:
        name: What a person calls it.
        frame: ``[H, W, 3]`` uint8, BGR; ``None``: decoded from ``encoded`` each time it is asked for.
        encoded: The file's bytes.
        suffix: The file's, lower case, with its dot.
    """

    def __init__(
        self, name: str, frame: Frame | None = None, encoded: bytes | None = None, suffix: str = ".png"
    ) -> None:
        if frame is None and encoded is None:
            raise ValueError("a picture needs a frame or a file's bytes")
        self.name = name
        self.encoded = encoded
        self.suffix = suffix
        self._frame = frame

    @property
    def frame(self) -> Frame:
        """``[H, W, 3]`` uint8, BGR.

        Raises:
            PictureError: The bytes are not a usable picture.
        """
        if self._frame is not None:
            return self._frame
        return decode_picture(self.encode(), self.name).frame

    def encode(self) -> bytes:
        """The file's own bytes, or the frame as PNG."""
        return self.encoded if self.encoded is not None else encode_png(self.frame)

    def renamed(self, name: str) -> Picture:
        """The same picture under another name."""
        return Picture(name, self._frame, self.encoded, self.suffix)

    def stored(self) -> Picture:
        """The same picture without its decoded frame, which is twenty times the size of a JPEG."""
        return Picture(self.name, None, self.encode(), self.suffix)


def frame_digest(frame: Frame) -> str:
    """Hash of size and pixels, to tell whether two frames are the same."""
    digest = hashlib.blake2b(repr(frame.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def files_passed_over(paths: Iterable[Path]) -> list[Path]:
    """Files in the folders among ``paths`` that :func:`find_pictures` does not take for pictures."""
    return [
        entry
        for path in paths
        if path.is_dir()
        for entry in sorted(_visible_files(path))
        if entry.suffix.lower() not in PICTURE_SUFFIXES
    ]


def _visible_files(folder: Path) -> Iterator[Path]:
    for entry in folder.rglob("*"):
        # A link that leads nowhere is a file that cannot be read, not one that is not there.
        if (entry.is_file() or entry.is_symlink()) and not any(
            part.startswith(".") for part in entry.relative_to(folder).parts
        ):
            yield entry


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """Files as given, and the pictures in folders (recursively, sorted by path).

    Raises:
        PictureError: A path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(
                sorted(entry for entry in _visible_files(path) if entry.suffix.lower() in PICTURE_SUFFIXES)
            )
        elif path.exists():
            found.append(path)
        else:
            raise PictureError(f"there is no file or folder {path}", "Check the path.")
    return list(dict.fromkeys(found))


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Read a picture file.

    Raises:
        PictureError: It does not exist, is not a picture, is truncated, or is too small or too large.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot read {path}: {error.strerror or error}", "Check the path.") from error
    return decode_picture(data, path.name)


def decode_picture(data: bytes, name: str) -> Picture:
    """Decode a picture file's bytes.

    EXIF orientation is applied, grey and palette pictures become three equal channels, transparency is
    laid over black, CMYK is converted, and 16-bit values keep their upper byte.

    Raises:
        PictureError: It is not a picture, is truncated, too small or too large, or 16-bit with so few bits
            in use that it would come out black.
    """
    try:
        with warnings.catch_warnings():
            # The size is checked below, against a limit of our own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                _check_size(image.width, image.height, name)
                _check_single(image, name)
                # Known only until the pixels are read.
                deep = any(_SIXTEEN_BIT_COLOR.search(str(tile[3])) for tile in image.tile)
                rgb = _to_rgb(ImageOps.exif_transpose(image), name)
                if deep and image.mode not in _SIXTEEN_BIT_MODES and rgb.max() <= _TWELVE_BIT_MAX / 255:
                    raise _too_dark(int(rgb.max()) * 256, name)
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is not a picture", "Give PNG, JPEG, TIFF, BMP or WebP files.") from error
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(f"{name} is damaged ({error})", "Take or copy the picture again.") from error
    return Picture(name=name, frame=bgr(rgb), encoded=data, suffix=Path(name).suffix.lower() or ".png")


def _check_single(image: Image.Image, name: str) -> None:
    # Inspecting the first of several pictures would pass the others unseen.
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise PictureError(f"{name} holds {pages} pictures", "Save each as a file of its own.")


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE_PX:
        raise PictureError(
            f"{name} is {width} x {height} pixels", f"Give pictures of at least {MIN_SIDE_PX} pixels a side."
        )
    if width * height > MAX_PIXELS:
        raise _too_large(name)


def _too_large(name: str) -> PictureError:
    return PictureError(
        f"{name} has more than {MAX_PIXELS // 1_000_000} megapixels",
        "Crop it to the part that is inspected, or scale it down.",
    )


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode in _SIXTEEN_BIT_MODES:
        return np.repeat(_sixteen_to_eight(np.asarray(image), name)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise PictureError(f"{name} holds floating-point values", "Convert it to 8 bits with a fixed scale.")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered)
    return np.asarray(image.convert("RGB"))


def _sixteen_to_eight(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    brightest = int(values.max())
    if brightest <= _TWELVE_BIT_MAX and values.dtype != np.uint8:
        raise _too_dark(brightest, name)
    upper_byte: NDArray[np.uint8] = (np.clip(values, 0, 65535).astype(np.uint16) >> 8).astype(np.uint8)
    return upper_byte


def _too_dark(brightest: int, name: str) -> PictureError:
    # Guessing a scale per picture would make the same part look different every time.
    return PictureError(
        f"{name} is a 16-bit picture that uses only values up to {brightest}; it would come out black",
        "Convert such pictures to 8 bits with one fixed scale (12-bit cameras: divide by 16).",
    )


def bgr(rgb: NDArray[np.uint8]) -> Frame:
    """Swap red and blue; a contiguous copy."""
    return np.ascontiguousarray(rgb[:, :, ::-1])


def check_frame(frame: object) -> Frame:
    """Check that an object is a frame: ``[H, W, 3]`` uint8, on the host.

    Raises:
        PictureError: It is not.
    """
    if is_on_device(frame):
        raise PictureError(
            "the frame is on a GPU, and what it is given to begins on the host",
            f"{TO_THE_HOST}, or give it to a Detector that is loaded with engine='tensorrt', alone.",
        )
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise PictureError(
            f"a frame must be a uint8 array [H, W, 3] in BGR order, got {got}",
            "Grey: cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR); 16-bit: scale to 8 bits first.",
        )
    _check_size(frame.shape[1], frame.shape[0], "the frame")
    return frame


def as_pictures(frames: Sequence[Picture | Frame], prefix: str) -> list[Picture]:
    """Name bare frames by their place, and check that all are frames.

    Args:
        frames: Pictures, or frames ``[H, W, 3]`` uint8, BGR, which are copied.
        prefix: Begins the names of bare frames.

    Raises:
        PictureError: One is not a frame.
    """
    pictures = []
    for index, frame in enumerate(frames):
        if isinstance(frame, Picture):
            check_frame(frame.frame)
            pictures.append(frame)
        else:
            # A camera may hand out the same buffer again; the bank keeps its own copy.
            pictures.append(Picture(name=f"{prefix}-{index:03d}", frame=check_frame(frame).copy()))
    return pictures


def encode_png(frame: Frame) -> bytes:
    """A frame as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(bgr(frame)).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def encode_jpeg(frame: Frame, quality: int = 90) -> bytes:
    """A frame as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(bgr(frame)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
