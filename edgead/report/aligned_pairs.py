"""The part of the enrolment sheet that shows how references were laid over each other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from edgead_runtime.images import Frame, bgr
from PIL import Image, ImageDraw

from edgead.report.overlay import fit_longest_side
from edgead.report.sheet_style import (
    GAP,
    HEADLINE_SIZE,
    INK,
    LINE_PX,
    MARGIN,
    SOFT,
    STANDS_OUT,
    TEXT_SIZE,
    load_font,
    shorten,
)

MAX_PAIR_TILE_PX = 260
MAX_PAIRS = 16

_SQUARES = 6
_CAPTION_LINE_PX = 19
_COLUMNS = ("over this one", "as taken", "turned and shifted", "both, in squares")
_EXPLANATION = (
    "In the last column squares of the two pictures alternate. "
    "Where edges run on from square to square, the two lie over each other. "
    "If those of the background run on and those of the part do not, the background was aligned. "
    "Corners that came in from outside the picture are filled with its reflection."
)
_RULE = (214, 214, 208)
_EMPTY = (240, 236, 230)


@dataclass(frozen=True)
class AlignedPair:
    """One reference that was to be laid over another."""

    fixed_name: str
    moving_name: str
    fixed: Frame
    """``[H, W, 3]`` uint8, BGR, as are the other two."""
    before: Frame
    """The moving reference as it was taken."""
    after: Frame
    """The moving reference laid over the fixed one and of its size; not shown where nothing was found."""
    found: bool
    reason: str
    """Of :class:`edgead_runtime.alignment.Alignment`."""


class PairsSection:
    """A heading and a row for every pair; nothing where there are none.

    Args:
        pairs: In their order; after :data:`MAX_PAIRS` they are only counted.
        width_px: Of the sheet.
    """

    def __init__(self, pairs: Sequence[AlignedPair], width_px: int) -> None:
        self._pairs = pairs
        self._width_px = width_px
        self._shown = pairs[:MAX_PAIRS]
        columns_px = width_px - 2 * MARGIN - (len(_COLUMNS) - 1) * GAP
        self._tile_px = min(MAX_PAIR_TILE_PX, columns_px // len(_COLUMNS))
        self._views = [_views(pair, self._tile_px) for pair in self._shown]
        self._text = self._explain() if pairs else []

    @property
    def height_px(self) -> int:
        """Its height."""
        if not self._pairs:
            return 0
        header = GAP + LINE_PX * (len(self._text) + 2)
        return header + sum(_row_px(views) for views in self._views)

    def _explain(self) -> list[str]:
        lines = [_EXPLANATION]
        if len(self._pairs) > len(self._shown):
            lines.append(f"The first {len(self._shown)} of {len(self._pairs)} pairs are shown.")
        per_line = (self._width_px - 2 * MARGIN) // 8
        return [part for line in lines for part in textwrap.wrap(line, width=per_line)]

    def draw(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
        """Draw it.

        Args:
            sheet: The sheet, high enough.
            draw: For lines and text on it.
            top: Where it begins, in pixels.
        """
        if not self._pairs:
            return
        font = load_font(TEXT_SIZE)
        draw.line([(MARGIN, top), (self._width_px - MARGIN, top)], fill=_RULE, width=1)
        top += GAP
        aligned = sum(pair.found for pair in self._pairs)
        headline = f"Alignment: {aligned} of {len(self._pairs)} pairs aligned"
        draw.text((MARGIN, top), headline, fill=INK, font=load_font(HEADLINE_SIZE))
        for line in self._text:
            top += LINE_PX
            draw.text((MARGIN, top), line, fill=SOFT, font=font)
        top += LINE_PX
        for column, title in enumerate(_COLUMNS):
            draw.text((self._left(column), top), title, fill=INK, font=font)
        top += LINE_PX
        for pair, views in zip(self._shown, self._views, strict=True):
            self._draw_row(sheet, draw, pair, views, top)
            top += _row_px(views)

    def _left(self, column: int) -> int:
        return MARGIN + column * (self._tile_px + GAP)

    def _draw_row(
        self,
        sheet: Image.Image,
        draw: ImageDraw.ImageDraw,
        pair: AlignedPair,
        views: Sequence[Frame],
        top: int,
    ) -> None:
        font = load_font(TEXT_SIZE)
        name_px = 2 * self._tile_px - 2 * GAP
        bottom = top + _tallest_px(views)
        for column, view in enumerate(views):
            sheet.paste(Image.fromarray(bgr(view)), (self._left(column), bottom - view.shape[0]))
        moving, still = (shorten(draw, name, font, name_px) for name in (pair.moving_name, pair.fixed_name))
        draw.text((MARGIN, bottom + 3), f"{moving} over {still}", fill=INK, font=font)
        reason, color = (pair.reason, SOFT) if pair.found else (f"not aligned: {pair.reason}", STANDS_OUT)
        draw.text((MARGIN, bottom + 3 + _CAPTION_LINE_PX), reason, fill=color, font=font)
        if not pair.found:
            box = (self._left(2), top, self._left(3) + self._tile_px, bottom)
            draw.rectangle(box, fill=_EMPTY, outline=STANDS_OUT)
            middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            draw.text(middle, "not aligned", fill=STANDS_OUT, font=font, anchor="mm")


def in_squares(one: Frame, other: Frame) -> Frame:
    """A checkerboard of two pictures of one size ``[H, W, 3]``: at an edge that runs on, they agree."""
    height, width = one.shape[:2]
    side = max(1, -(-max(height, width) // _SQUARES))
    y, x = np.indices((height, width), sparse=True)
    return np.where(((x // side + y // side) % 2 == 0)[:, :, None], one, other)


def _views(pair: AlignedPair, tile_px: int) -> list[Frame]:
    """What a row shows: the two pictures, and where they were aligned the third and both in squares."""
    fixed, before = (fit_longest_side(frame, tile_px, tile_px) for frame in (pair.fixed, pair.before))
    if not pair.found:
        return [fixed, before]
    size = fixed.shape[1], fixed.shape[0]
    after = np.asarray(cv2.resize(pair.after, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return [fixed, before, after, in_squares(fixed, after)]


def _row_px(views: Sequence[Frame]) -> int:
    return _tallest_px(views) + 2 * _CAPTION_LINE_PX + GAP


def _tallest_px(views: Sequence[Frame]) -> int:
    return max(int(view.shape[0]) for view in views)
