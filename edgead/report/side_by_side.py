"""Why a spot is red: the spot beside what comes nearest to it in the good pictures."""

from __future__ import annotations

import cv2
import numpy as np
from edgead_runtime.explanation import Box, Explanation
from edgead_runtime.images import Frame, encode_jpeg

from edgead.report.html import SideBySide

CROP_PX = 220
"""Side of the square that each spot is shown in."""
_AROUND = 7
"""Patches that the square shows from side to side: enough of the part to recognize the place."""
_LINE_BGR = (255, 255, 255)
_LINE_EDGE_BGR = (30, 30, 30)


def side_by_side(frame: Frame, explanation: Explanation, pixel_threshold: float) -> SideBySide:
    """The two spots and a caption.

    Args:
        frame: The inspected frame ``[H, W, 3]`` uint8, BGR.
        explanation: Of one of its regions.
        pixel_threshold: The detector's.
    """
    times = explanation.distance / max(pixel_threshold, float(np.finfo(np.float32).tiny))
    return SideBySide(
        spot=encode_jpeg(crop_around(frame, explanation.patch)),
        nearest=encode_jpeg(crop_around(explanation.reference_frame, explanation.reference_patch)),
        caption=f"Nearest good spot: {explanation.reference}, {explanation.view}. "
        f"Distance {explanation.distance:.3g}, {times:.2g} times the pixel threshold.",
    )


def crop_around(frame: Frame, patch: Box) -> Frame:
    """A square around a patch, with the patch outlined.

    Args:
        frame: ``[H, W, 3]`` uint8, BGR.
        patch: In its pixels.

    Returns:
        ``[CROP_PX, CROP_PX, 3]`` uint8, BGR; black where the square leaves the frame.
    """
    side = max(_AROUND * max(patch.width, patch.height), 3)
    left = patch.x + patch.width // 2 - side // 2
    top = patch.y + patch.height // 2 - side // 2
    square = np.zeros((side, side, 3), dtype=np.uint8)
    rows = slice(max(top, 0), min(top + side, frame.shape[0]))
    columns = slice(max(left, 0), min(left + side, frame.shape[1]))
    square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = frame[
        rows, columns
    ]
    smooth = cv2.INTER_AREA if side > CROP_PX else cv2.INTER_CUBIC
    shown = np.asarray(cv2.resize(square, (CROP_PX, CROP_PX), interpolation=smooth), dtype=np.uint8)
    scale = CROP_PX / side
    start = round((patch.x - left) * scale), round((patch.y - top) * scale)
    end = round((patch.x + patch.width - left) * scale), round((patch.y + patch.height - top) * scale)
    cv2.rectangle(shown, start, end, _LINE_EDGE_BGR, 3)
    cv2.rectangle(shown, start, end, _LINE_BGR, 1)
    return shown
