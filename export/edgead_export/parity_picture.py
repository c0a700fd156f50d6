"""The parity report as a picture: what torch sees, what the ONNX file sees, and the difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from edgead_runtime.agreement import GateReport, WorstScene
from edgead_runtime.images import Frame
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgead_export.parity import DistanceMaps, ParityReport

_CELL, _GAP, _HEADER, _CAPTION = 260, 12, 92, 26
_COLUMNS = 4
_PAPER, _INK, _FAINT, _GOOD, _BAD = "#ffffff", "#1a1a1a", "#666666", "#14713d", "#b3261e"
# Dark blue over magenta to pale yellow: readable in grey and to colour-blind eyes.
_RAMP_AT = (0.0, 0.25, 0.5, 0.75, 1.0)
_RAMP = np.array([[4, 4, 30], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)

Floats = NDArray[np.float32]


def draw_parity(
    report: ParityReport, maps: Sequence[DistanceMaps], gates: Sequence[tuple[GateReport, WorstScene]] = ()
) -> Image.Image:
    """One line per picture, then one per precision for the scene in which it is furthest from fp32.

    The maps of a line share one color scale.
    """
    width = _COLUMNS * (_CELL + _GAP) + _GAP
    line_height = _CELL + _CAPTION + _GAP
    height = _HEADER + len(maps) * line_height + len(gates) * (line_height + _HEADER)
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    verdict = "agrees" if report.passed else "DOES NOT AGREE"
    _head(
        draw,
        0,
        (f"Parity of the {report.precision} file: {verdict} with torch", report.passed),
        f"patch cosine min {report.cosine_min:.7f}, rank correlation min {report.rank_correlation_min:.5f}, "
        f"score error max {report.score_error_max:.4%}, largest difference of a feature "
        f"{report.max_abs_diff:.1e}; {report.engine}",
        ("picture", "distance map, torch fp32", "distance map, ONNX Runtime", "difference"),
    )
    for line, entry in enumerate(maps):
        top = _HEADER + line * line_height
        _line(canvas, top, entry.picture.frame, entry.picture.name, (entry.torch, entry.onnx))
    top = _HEADER + len(maps) * line_height
    for gate, worst in gates:
        _head(
            draw,
            top,
            (f"{gate.precision}: {'offered' if gate.passed else 'NOT OFFERED'}", gate.passed),
            f"rank correlation {gate.rank_correlation_mean:.4f}, at worst {gate.rank_correlation_min:.4f}; "
            f"score error {gate.score_error_median:.2%}, at worst {gate.score_error_max:.2%}; {gate.engine}. "
            f"Furthest from fp32: {worst.scene.scene}",
            ("query", "distance map, fp32", f"distance map, {gate.precision}", "difference"),
        )
        _line(canvas, top + _HEADER, worst.query, worst.scene.output, (worst.reference, worst.found))
        top += line_height + _HEADER
    return canvas


def _head(
    draw: ImageDraw.ImageDraw,
    top: int,
    title: tuple[str, bool],
    facts: str,
    columns: Sequence[str],
) -> None:
    draw.text((_GAP, top + 10), title[0], _GOOD if title[1] else _BAD, _font(20))
    draw.text((_GAP, top + 38), facts, _INK, _font(13))
    for column, name in enumerate(columns):
        draw.text((_GAP + column * (_CELL + _GAP), top + _HEADER - 24), name, _INK, _font(14))


def _line(canvas: Image.Image, top: int, frame: Frame, caption: str, maps: tuple[Floats, Floats]) -> None:
    """A picture, two maps in one scale, and their difference."""
    draw = ImageDraw.Draw(canvas)
    low = float(min(part.min() for part in maps))
    high = float(max(part.max() for part in maps))
    frame_height, frame_width = frame.shape[:2]
    scale = _CELL / max(frame_height, frame_width)
    size = max(1, round(frame_width * scale)), max(1, round(frame_height * scale))
    difference = np.abs(maps[0] - maps[1])
    largest = float(difference.max())
    cells = (
        (Image.fromarray(frame[:, :, ::-1].copy()), caption),
        (_heat(maps[0], low, high), f"{low:.3f} to {high:.3f}"),
        (_heat(maps[1], low, high), "the same scale"),
        (_heat(difference, 0.0, largest), f"0 to {largest:.1e}: the lightest is the largest"),
    )
    for column, (cell, text) in enumerate(cells):
        left = _GAP + column * (_CELL + _GAP)
        # The maps take the picture's aspect, so that one finds the same place in both.
        resample = Image.Resampling.LANCZOS if column == 0 else Image.Resampling.NEAREST
        canvas.paste(cell.resize(size, resample), (left, top))
        draw.text((left, top + size[1] + 4), text, _FAINT, _font(13))


def _heat(values: Floats, low: float, high: float) -> Image.Image:
    scaled = (values - low) / max(high - low, 1e-12)
    channels = [np.interp(scaled, _RAMP_AT, _RAMP[:, channel]) for channel in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
