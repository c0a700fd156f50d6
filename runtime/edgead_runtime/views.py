"""The views of a good picture that a detector remembers: as taken, aligned, turned and mirrored."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edgead_runtime.alignment import Alignment, warp
from edgead_runtime.images import Frame
from edgead_runtime.recipe import Flip, Recipe

_FLIP_NAMES: dict[Flip, str] = {
    "horizontal": "mirrored left to right",
    "vertical": "mirrored top to bottom",
    "both": "turned by 180°",
}


@dataclass(frozen=True)
class View:
    """One way in which a picture is remembered."""

    name: str
    """For a person, e.g. ``turned by 45°``."""
    make: Callable[[Frame], Frame]
    """From the picture as it was taken."""

    @property
    def is_as_taken(self) -> bool:
        """Whether nothing is done to the picture."""
        return self.make is as_it_is


def views_of(recipe: Recipe, alignment: Alignment | None, fixed_hw: tuple[int, int]) -> tuple[View, ...]:
    """The views that a recipe asks for; the first is always the picture as it was taken.

    Without alignment where the recipe asks for it (the picture that others are aligned to, or one that could
    not be), the picture as taken stands in for its aligned copy, so that every reference has as many views.

    Args:
        recipe: The method.
        alignment: Of the picture to another, or ``None``.
        fixed_hw: Size of that other picture (height, width).
    """
    views = [View("as taken", as_it_is)]
    base = as_it_is
    if alignment is not None and alignment.found:
        base = functools.partial(warp, alignment=alignment, fixed_hw=fixed_hw)
    if recipe.align != "off":
        views.append(View("as taken" if base is as_it_is else "aligned", base))
    aligned = "" if base is as_it_is else "aligned, "
    for degrees in recipe.rotations_deg[1:]:
        turn = functools.partial(_then, base, functools.partial(rotate, degrees=degrees))
        views.append(View(f"{aligned}turned by {degrees:g}°", turn))
    for flip in recipe.flips:
        flipped = functools.partial(_then, base, functools.partial(mirror, flip=flip))
        views.append(View(f"{aligned}{_FLIP_NAMES[flip]}", flipped))
    return tuple(views)


def as_it_is(frame: Frame) -> Frame:
    """The frame itself."""
    return frame


def _then(first: Callable[[Frame], Frame], second: Callable[[Frame], Frame], frame: Frame) -> Frame:
    return second(first(frame))


def rotate(frame: Frame, degrees: float) -> Frame:
    """Turn a frame about its centre, canvas unchanged, borders reflected.

    Source: AnomalyDINO's release: bilinear, scale 1, about (w/2, h/2), reflect-101, on the raw frame.
    """
    if degrees == 0:
        return frame
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(
        frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(turned, dtype=np.uint8)


def mirror(frame: Frame, flip: Flip) -> Frame:
    """A frame with left and right (``horizontal``), top and bottom (``vertical``) or both swapped."""
    rows = slice(None, None, 1 if flip == "horizontal" else -1)
    columns = slice(None, None, 1 if flip == "vertical" else -1)
    return np.ascontiguousarray(frame[rows, columns])
