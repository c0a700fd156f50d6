"""Colours, distances and type of the enrolment sheet."""

from __future__ import annotations

from PIL import ImageDraw, ImageFont

MARGIN = 20
GAP = 14
LINE_PX = 26
HEADLINE_SIZE = 19
TEXT_SIZE = 15

Color = tuple[int, int, int]
PAPER: Color = (250, 250, 248)
INK: Color = (28, 34, 44)
SOFT: Color = (98, 106, 118)
STANDS_OUT: Color = (166, 62, 12)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FONTS = ("DejaVuSans.ttf", "Arial Unicode.ttf", "Arial.ttf", "LiberationSans-Regular.ttf")


def load_font(size: int) -> Font:
    """The first of the usual fonts that this machine has."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    # Pillow's own font knows Latin letters only, which is still better than no sheet.
    return ImageFont.load_default(size)


def shorten(draw: ImageDraw.ImageDraw, name: str, font: Font, width_px: int) -> str:
    """Shorten a name in the middle, where file names differ least, until it fits."""
    keep = len(name)
    shortened = name
    while draw.textlength(shortened, font=font) > width_px and keep > 4:
        keep -= 1
        shortened = f"{name[: keep // 2]}…{name[-(keep - keep // 2) :]}"
    return shortened
