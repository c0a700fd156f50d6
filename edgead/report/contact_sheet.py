"""The enrolment sheet: every reference with what the detector will ignore in it, for a person to check.

Where references were aligned, the sheet also shows how each was laid over another.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from edgead_runtime.images import Frame, bgr
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgead.report.aligned_pairs import AlignedPair, PairsSection
from edgead.report.overlay import fit_longest_side
from edgead.report.sheet_style import (
    GAP,
    HEADLINE_SIZE,
    INK,
    LINE_PX,
    MARGIN,
    PAPER,
    SOFT,
    STANDS_OUT,
    TEXT_SIZE,
    Color,
    load_font,
    shorten,
)

TILE_PX = 260
MAX_COLUMNS = 5
MAX_TILES = 60

_CAPTION_LINE_PX = 19
_CAPTION_PX = 3 * _CAPTION_LINE_PX + 6
_MIN_WIDTH = 900
_DIMMED_TO = 0.3
_HATCH_PERIOD_PX = 12
_HATCH_WIDTH_PX = 2
_HATCH_BGR = (60, 120, 235)


@dataclass(frozen=True)
class Tile:
    """One reference on the sheet."""

    name: str
    frame: Frame
    """``[H, W, 3]`` uint8, BGR."""
    inspected: NDArray[np.bool_]
    """Patches that count ``[rows, columns]``; all true where nothing is masked."""
    covered: tuple[float, float] = (1.0, 1.0)
    """Share of the frame's height and width that the patches cover, from the top left."""
    score: float | None = None
    """What it scores against the other references; ``None`` where it was not left out."""
    sets_threshold: bool = False
    """Whether its score is the detector's threshold."""


def draw_contact_sheet(
    headline: str, lines: Sequence[str], tiles: Sequence[Tile], pairs: Sequence[AlignedPair] = ()
) -> Frame:
    """Draw the sheet.

    Args:
        headline: What was enrolled.
        lines: Sentences under it; long ones are wrapped.
        tiles: References in their order; after :data:`MAX_TILES` they are only counted.
        pairs: References that were laid over each other, drawn under the tiles.

    Returns:
        ``[h, w, 3]`` uint8, BGR.
    """
    shown = tiles[:MAX_TILES]
    columns = min(MAX_COLUMNS, max(1, len(shown)))
    rows = -(-len(shown) // columns)
    width = max(_MIN_WIDTH, 2 * MARGIN + columns * (TILE_PX + GAP) - GAP)
    text = [part for line in lines for part in textwrap.wrap(line, width=(width - 2 * MARGIN) // 8)]
    if len(tiles) > len(shown):
        text.append(f"The first {len(shown)} of {len(tiles)} references are shown.")
    header = MARGIN + LINE_PX * (len(text) + 1) + GAP
    pairs_top = header + rows * (TILE_PX + _CAPTION_PX + GAP)
    section = PairsSection(pairs, width)

    sheet = Image.new("RGB", (width, pairs_top + section.height_px + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), headline, fill=INK, font=load_font(HEADLINE_SIZE))
    for index, line in enumerate(text):
        draw.text((MARGIN, MARGIN + LINE_PX * (index + 1)), line, fill=SOFT, font=load_font(TEXT_SIZE))
    for index, tile in enumerate(shown):
        left = MARGIN + (index % columns) * (TILE_PX + GAP)
        top = header + (index // columns) * (TILE_PX + _CAPTION_PX + GAP)
        _draw_tile(sheet, draw, tile, left, top)
    section.draw(sheet, draw, pairs_top)
    return bgr(np.asarray(sheet))


def dim_ignored(frame: Frame, inspected: NDArray[np.bool_], covered: tuple[float, float]) -> Frame:
    """Darken and hatch what is not inspected.

    Args:
        frame: ``[H, W, 3]`` uint8, BGR; not changed.
        inspected: ``[rows, columns]``.
        covered: Share of height and width under the patches; the strip beyond is not inspected either.
    """
    height, width = frame.shape[:2]
    covered_px = max(1, round(width * covered[1])), max(1, round(height * covered[0]))
    ignored = np.ones((height, width), dtype=bool)
    patches = cv2.resize(inspected.astype(np.uint8), covered_px, interpolation=cv2.INTER_NEAREST)
    ignored[: covered_px[1], : covered_px[0]] = patches == 0
    y, x = np.indices((height, width), sparse=True)
    hatched = ignored & ((x + y) % _HATCH_PERIOD_PX < _HATCH_WIDTH_PX)
    result: Frame = frame.copy()
    result[ignored] = (frame[ignored] * _DIMMED_TO).astype(np.uint8)
    result[hatched] = _HATCH_BGR
    return result


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    picture = dim_ignored(fit_longest_side(tile.frame, TILE_PX, TILE_PX), tile.inspected, tile.covered)
    # Pictures hang from the bottom of their cell, so that the captions stand in one line.
    sheet.paste(Image.fromarray(bgr(picture)), (left, top + TILE_PX - picture.shape[0]))
    font = load_font(TEXT_SIZE)
    lines = [(shorten(draw, tile.name, font, TILE_PX), INK), *_caption(tile)]
    for index, (line, colour) in enumerate(lines):
        draw.text((left, top + TILE_PX + 3 + index * _CAPTION_LINE_PX), line, fill=colour, font=font)


def _caption(tile: Tile) -> list[tuple[str, Color]]:
    lines = []
    if tile.score is not None:
        note = ", sets the threshold" if tile.sets_threshold else ""
        lines.append((f"score {tile.score:.4f}{note}", STANDS_OUT if tile.sets_threshold else SOFT))
    ignored = 1 - tile.inspected.mean() * tile.covered[0] * tile.covered[1]
    if ignored >= 0.005:
        lines.append((f"{ignored:.0%} hatched", SOFT))
    return lines
