"""Wrong verdicts as pictures: where the defect is, and what the detector saw instead."""

from __future__ import annotations

import cv2
import numpy as np
from edgead_runtime import Result
from edgead_runtime.images import Frame, encode_jpeg
from numpy.typing import NDArray

from edgead.report.html import Thumbnails
from edgead.report.overlay import draw_overlay, fit_longest_side

CASE_PX = 360
_QUALITY = 82
_OUTLINE_BGR = (80, 220, 60)
_OUTLINE_EDGE_BGR = (20, 40, 20)


def case_pictures(
    frame: Frame, result: Result, pixel_threshold: float, truth: NDArray[np.bool_] | None
) -> Thumbnails:
    """The picture, with its true defects outlined where they are known, and its overlay.

    Args:
        frame: ``[H, W, 3]`` uint8, BGR.
        result: What the detector says of it.
        pixel_threshold: The detector's.
        truth: ``[H, W]``, or ``None``.
    """
    painted = draw_overlay(frame, result.map, pixel_threshold, result.regions)
    return Thumbnails(
        encode_jpeg(outline_defects(frame, truth), _QUALITY),
        encode_jpeg(fit_longest_side(painted, 1, CASE_PX), _QUALITY),
    )


def outline_defects(frame: Frame, truth: NDArray[np.bool_] | None) -> Frame:
    """A small copy of a frame with a line around each defect."""
    small: Frame = fit_longest_side(frame, 1, CASE_PX).copy()
    if truth is None or not truth.any():
        return small
    # Reduced by area, so that a defect thinner than a pixel of the small picture is not lost.
    share = cv2.resize(
        truth.astype(np.float32), (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA
    )
    outlines, _ = cv2.findContours((share > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(small, outlines, -1, _OUTLINE_EDGE_BGR, 3)
    cv2.drawContours(small, outlines, -1, _OUTLINE_BGR, 1)
    return small
