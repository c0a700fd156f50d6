"""Scenes for the gate of a precision: what a detector meets, made from good pictures.

A picture compared with an unrelated one has large distances everywhere, of which a small precision changes a
small share. What counts are the distances that a detector sees: small ones on a good part, and a few large
ones where it is not. So a query and its bank belong together, and each query comes a second time with a piece
of another picture in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgead_runtime.agreement import Scene
from edgead_runtime.images import Frame, Picture

MOST_SCENES = 16
_TURN_DEG, _SHIFT, _BRIGHTER = 6.0, 0.02, 1.06
_PIECE = 6
"""The piece pasted in has a sixth of the picture's sides."""


def scenes_of_one_part(pictures: Sequence[Picture]) -> list[Scene]:
    """Good pictures of one part: each is compared with the one before it.

    Args:
        pictures: At least two.
    """
    return _with_pieces(
        [
            Scene(f"{picture.name} and {before.name}", (before.frame,), picture.frame)
            for before, picture in zip([pictures[-1], *pictures], pictures, strict=False)
        ]
    )


def scenes_of_unrelated(pictures: Sequence[Picture]) -> list[Scene]:
    """Pictures of different things: each is compared with itself turned, shifted and a little brighter."""
    return _with_pieces(
        [Scene(picture.name, (_another_view(picture.frame),), picture.frame) for picture in pictures]
    )


def _with_pieces(scenes: Sequence[Scene]) -> list[Scene]:
    chosen = scenes[: MOST_SCENES // 2]
    found: list[Scene] = []
    for index, scene in enumerate(chosen):
        other = chosen[(index + 1) % len(chosen)].query
        found += [
            scene,
            Scene(f"{scene.name}, with a piece of another", scene.bank, _with_piece(scene.query, other)),
        ]
    return found


def _another_view(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), _TURN_DEG, 1.0)
    matrix[:, 2] += _SHIFT * width, _SHIFT * height
    turned = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    brighter: Frame = np.clip(turned * _BRIGHTER, 0, 255).astype(np.uint8)
    return brighter


def _with_piece(frame: Frame, other: Frame) -> Frame:
    """``frame`` with the middle of ``other``, turned upside down, a third of the way in."""
    height, width = (max(1, side // _PIECE) for side in frame.shape[:2])
    top, left = (frame.shape[0] - height) // 3, (frame.shape[1] - width) // 3
    middle = other[other.shape[0] // 4 : -(other.shape[0] // 4) or None, other.shape[1] // 4 :]
    changed: Frame = frame.copy()
    changed[top : top + height, left : left + width] = cv2.resize(middle[::-1], (width, height))
    return changed
