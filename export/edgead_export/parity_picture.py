"""The parity report as a picture: what torch sees, what the ONNX file sees, and the difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgead_export.parity import DistanceMaps, ParityReport

_CELL, _GAP, _HEADER, _CAPTION = 260, 12, 92, 26
_COLUMNS = ("picture", "distance map, torch fp32", "distance map, ONNX Runtime", "difference")
_PAPER, _INK, _FAINT, _GOOD, _BAD = "#ffffff", "#1a1a1a", "#666666", "#14713d", "#b3261e"
# Dark blue over magenta to pale yellow: readable in grey and to colour-blind eyes.
_RAMP_AT = (0.0, 0.25, 0.5, 0.75, 1.0)
_RAMP = np.array([[4, 4, 30], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)

Floats = NDArray[np.float32]


def draw_parity(report: ParityReport, maps: Sequence[DistanceMaps]) -> Image.Image:
    """One line per picture; both maps of a line share one colour scale."""
    width = len(_COLUMNS) * (_CELL + _GAP) + _GAP
    canvas = Image.new("RGB", (width, _HEADER + len(maps) * (_CELL + _CAPTION + _GAP)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    verdict, color = ("agrees", _GOOD) if report.passed else ("DOES NOT AGREE", _BAD)
    draw.text((_GAP, 10), f"Parity of the {report.precision} file: {verdict} with torch", color, _font(20))
    draw.text(
        (_GAP, 38),
        f"patch cosine min {report.cosine_min:.7f}, rank correlation min {report.rank_correlation_min:.5f}, "
        f"score error max {report.score_error_max:.4%}, largest difference of a feature "
        f"{report.max_abs_diff:.1e}; {report.engine}",
        _INK,
        _font(13),
    )
    for column, title in enumerate(_COLUMNS):
        draw.text((_GAP + column * (_CELL + _GAP), _HEADER - 24), title, _INK, _font(14))
    for line, entry in enumerate(maps):
        top = _HEADER + line * (_CELL + _CAPTION + _GAP)
        low = float(min(entry.torch.min(), entry.onnx.min()))
        high = float(max(entry.torch.max(), entry.onnx.max()))
        frame_height, frame_width = entry.picture.frame.shape[:2]
        scale = _CELL / max(frame_height, frame_width)
        size = max(1, round(frame_width * scale)), max(1, round(frame_height * scale))
        difference = np.abs(entry.torch - entry.onnx)
        largest = float(difference.max())
        cells = (
            (Image.fromarray(entry.picture.frame[:, :, ::-1].copy()), entry.picture.name),
            (_heat(entry.torch, low, high), f"{low:.3f} to {high:.3f}"),
            (_heat(entry.onnx, low, high), "the same scale"),
            (_heat(difference, 0.0, largest), f"0 to {largest:.1e}: the lightest is the largest"),
        )
        for column, (cell, caption) in enumerate(cells):
            left = _GAP + column * (_CELL + _GAP)
            # The maps take the picture's aspect, so that one finds the same place in both.
            resample = Image.Resampling.LANCZOS if column == 0 else Image.Resampling.NEAREST
            canvas.paste(cell.resize(size, resample), (left, top))
            draw.text((left, top + size[1] + 4), caption, _FAINT, _font(13))
    return canvas


def _heat(values: Floats, low: float, high: float) -> Image.Image:
    scaled = (values - low) / max(high - low, 1e-12)
    channels = [np.interp(scaled, _RAMP_AT, _RAMP[:, channel]) for channel in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
