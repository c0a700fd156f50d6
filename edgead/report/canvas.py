"""Lines, boxes and words on paper, as a PNG or as an SVG of the same look."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from typing import Literal, Protocol

from PIL import Image, ImageDraw

from edgead.report.sheet_style import PAPER, Color, load_font

Anchor = Literal["start", "middle", "end"]
_PIXELS_A_UNIT = 2
_PILLOW_ANCHORS: dict[Anchor, str] = {"start": "ls", "middle": "ms", "end": "rs"}


class Canvas(Protocol):
    """Something to draw on, in units from the top left."""

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float = 1.0) -> None:
        """A line through points."""

    def box(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """A filled box."""

    def dot(self, x: float, y: float, radius: float, color: Color) -> None:
        """A filled circle."""

    def text(self, x: float, y: float, text: str, size: int, color: Color, anchor: Anchor = "start") -> None:
        """Words on a baseline at ``y``."""

    def text_width(self, text: str, size: int) -> float:
        """How wide words are."""

    def data(self) -> bytes:
        """The file."""


class PngCanvas:
    """Drawn by Pillow, two pixels a unit."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * _PIXELS_A_UNIT, height * _PIXELS_A_UNIT), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float = 1.0) -> None:
        """A line through points."""
        scaled = [(x * _PIXELS_A_UNIT, y * _PIXELS_A_UNIT) for x, y in points]
        self._draw.line(scaled, fill=color, width=max(1, round(width * _PIXELS_A_UNIT)), joint="curve")

    def box(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """A filled box."""
        corners = [value * _PIXELS_A_UNIT for value in (x, y, x + width, y + height)]
        self._draw.rectangle(corners, fill=color)

    def dot(self, x: float, y: float, radius: float, color: Color) -> None:
        """A filled circle."""
        corners = [value * _PIXELS_A_UNIT for value in (x - radius, y - radius, x + radius, y + radius)]
        self._draw.ellipse(corners, fill=color)

    def text(self, x: float, y: float, text: str, size: int, color: Color, anchor: Anchor = "start") -> None:
        """Words on a baseline at ``y``."""
        place = (x * _PIXELS_A_UNIT, y * _PIXELS_A_UNIT)
        font = load_font(size * _PIXELS_A_UNIT)
        self._draw.text(place, text, fill=color, font=font, anchor=_PILLOW_ANCHORS[anchor])

    def text_width(self, text: str, size: int) -> float:
        """How wide words are."""
        return self._draw.textlength(text, font=load_font(size * _PIXELS_A_UNIT)) / _PIXELS_A_UNIT

    def data(self) -> bytes:
        """The file."""
        buffer = io.BytesIO()
        self._image.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


class SvgCanvas:
    """Written as text; the viewer's own font is used."""

    def __init__(self, width: int, height: int) -> None:
        self._measure = PngCanvas(1, 1)
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="DejaVu Sans, Arial, sans-serif">',
            f'<rect width="{width}" height="{height}" fill="{_hex(PAPER)}"/>',
        ]

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float = 1.0) -> None:
        """A line through points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(
            f'<polyline points="{places}" fill="none" stroke="{_hex(color)}" stroke-width="{width:g}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, color: Color) -> None:
        """A filled box."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{_hex(color)}"/>'
        )

    def dot(self, x: float, y: float, radius: float, color: Color) -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{_hex(color)}"/>')

    def text(self, x: float, y: float, text: str, size: int, color: Color, anchor: Anchor = "start") -> None:
        """Words on a baseline at ``y``."""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{_hex(color)}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def text_width(self, text: str, size: int) -> float:
        """How wide words are, in the font that Pillow would take."""
        return self._measure.text_width(text, size)

    def data(self) -> bytes:
        """The file."""
        return ("\n".join([*self._parts, "</svg>"]) + "\n").encode()


def make_canvas(suffix: str, width: int, height: int) -> PngCanvas | SvgCanvas:
    """A canvas for a file of this suffix.

    Raises:
        KeyError: It is neither ``.png`` nor ``.svg``.
    """
    kinds: dict[str, type[PngCanvas] | type[SvgCanvas]] = {".png": PngCanvas, ".svg": SvgCanvas}
    return kinds[suffix](width, height)


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
