"""An area to inspect that a person drew, as patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.errors import RecipeError
from edgead_runtime.images import read_picture
from edgead_runtime.preprocess import Preprocessor
from edgead_runtime.recipe import Point, Recipe

_WHITE_FROM = 128
_MAX_ASPECT_CHANGE = 0.02


def drawn_area(recipe: Recipe, preprocessor: Preprocessor, frame_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The patches that an area touches.

    A patch counts if any of it is inside: what was drawn is inspected to its edge.

    Args:
        recipe: Has the picture or the polygon.
        preprocessor: Knows which patch sees what.
        frame_hw: Size of the good pictures (height, width).

    Returns:
        ``[rows, columns]``.

    Raises:
        RecipeError: The picture cannot be read, has another aspect than the frames, or the area touches no
            patch.
        PictureError: It is no picture.
    """
    if recipe.mask_image:
        inside = _from_picture(Path(recipe.mask_image), frame_hw)
        drawn = f"mask_image {recipe.mask_image}"
    else:
        inside = _from_polygon(recipe.mask_polygon, frame_hw)
        drawn = "mask_polygon"
    area = preprocessor.patches_touched(inside)
    if not area.any():
        raise RecipeError(
            f"{drawn} leaves nothing to inspect", "White, or the inside of the polygon, is inspected."
        )
    return area


def _from_picture(path: Path, frame_hw: tuple[int, int]) -> NDArray[np.bool_]:
    if not path.is_file():
        raise RecipeError(f"there is no mask_image {path}", "Check the path.")
    picture = read_picture(path).frame
    height, width = picture.shape[:2]
    if abs(width / height * frame_hw[0] / frame_hw[1] - 1) > _MAX_ASPECT_CHANGE:
        raise RecipeError(
            f"mask_image {path} is {width} x {height} pixels, the good pictures are {frame_hw[1]} x "
            f"{frame_hw[0]}",
            "Draw it over one of the good pictures.",
        )
    white = (picture.max(axis=2) >= _WHITE_FROM).astype(np.uint8)
    resized = cv2.resize(white, (frame_hw[1], frame_hw[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, dtype=np.bool_)


def _from_polygon(corners: Sequence[Point], frame_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre is inside. OpenCV's own filling adds the edge, and with it a row of patches."""
    height, width = frame_hw
    starts = np.array(corners) * (width, height)
    ends = np.roll(starts, -1, axis=0)
    inside = np.zeros(frame_hw, dtype=np.bool_)
    columns = np.arange(width) + 0.5
    for row in range(height):
        y = row + 0.5
        crossed = (starts[:, 1] <= y) != (ends[:, 1] <= y)
        (x0, y0), (x1, y1) = starts[crossed].T, ends[crossed].T
        crossings = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
        # Even-odd: inside after an odd number of edges.
        inside[row] = (crossings[:, None] <= columns).sum(axis=0) % 2 == 1
    return inside


def area_to_rows(area: NDArray[np.bool_]) -> list[str]:
    """Patches ``[rows, columns]`` as text that a person can read in a manifest: ``#`` counts, ``.`` not."""
    return ["".join("#" if counts else "." for counts in row) for row in area]


def area_from_rows(rows: Sequence[str]) -> NDArray[np.bool_]:
    """The patches ``[rows, columns]`` of such text."""
    return np.array([[character == "#" for character in row] for row in rows], dtype=np.bool_)
