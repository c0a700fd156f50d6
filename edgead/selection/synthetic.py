"""Defects drawn on good pictures, with the pixels they cover: something to find where no defect is known.

They are no real defects. They serve to compare two recipes on the same part, never to say how many real
defects either would find.

Source: CutPaste (arXiv 2104.04015) for the patch and the scar; the blot and the scratch are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from edgead_runtime.images import Frame
from numpy.typing import NDArray

Area = NDArray[np.bool_]
Stencil = NDArray[np.float32]
"""How much of the new content covers each pixel ``[h, w]``, in [0, 1]."""
Content = NDArray[np.float32]
"""What is laid on ``[h, w, 3]``, in the frame's levels; may leave [0, 255]."""

_SIZES = (0.002, 0.04)
"""Smallest and largest defect as a share of the inspected area. Real ones lie mostly between."""
_MIN_CONTRAST = 6.0
"""Mean change over the defect, in levels, below which nobody would see it."""
_TRIES = 6
_REACH, _REACH_PX = 1.5, 24
"""How far any kind reaches from its centre at most: in sides of its square, and pixels."""
_FAINTEST = 0.05
"""A stencil below this is taken for nothing: it would be marked as defective and not be seen."""


@dataclass(frozen=True, eq=False)
class GoodPart:
    """A good picture and where on it the part is."""

    frame: Frame
    """``[H, W, 3]`` uint8, BGR."""
    inspected: Area
    """``[H, W]``; defects lie here and are cut from here. Where it is empty, anywhere."""

    @cached_property
    def allowed(self) -> Area:
        """``[H, W]``; what is inspected, or everything."""
        return self.inspected if self.inspected.any() else np.ones_like(self.inspected)

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """The allowed pixels, as places in the flattened picture."""
        return np.flatnonzero(self.allowed)

    def any_place(self, random: np.random.Generator) -> tuple[int, int]:
        """Row and column of an allowed pixel."""
        row, column = divmod(int(self.places[random.integers(len(self.places))]), self.frame.shape[1])
        return row, column


@dataclass(frozen=True, eq=False)
class SyntheticDefect:
    """A good picture with one defect on it."""

    kind: str
    """An entry of :data:`KINDS`."""
    frame: Frame
    """``[H, W, 3]`` uint8, BGR; outside ``where`` as it was."""
    where: Area
    """``[H, W]``; the pixels that the defect covers, at least one, all of them inspected."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a defect goes and what it is made from."""

    frame: Frame
    """``[h, w, 3]``; the part of the picture around the defect, large enough for any kind."""
    donor: GoodPart
    centre: tuple[float, float]
    """(x, y) in ``frame``, an inspected pixel."""
    side: float
    """Side in pixels of the square that has the defect's area."""
    inspected_side: float
    """Side in pixels of the square that has the inspected area."""


Draw = Callable[[_Place, np.random.Generator], tuple[Stencil, Content]]


def make_defects(
    part: GoodPart, donors: Sequence[GoodPart], count: int, seed: int
) -> tuple[SyntheticDefect, ...]:
    """Draw ``count`` defects, each on a copy of the picture.

    The kinds take turns, and within each the sizes are spread evenly (in their logarithm) from the smallest
    to the largest. The same arguments give the same pixels.

    Args:
        part: What they are drawn on.
        donors: Good pictures that patches are cut from, of any size; ``part`` itself may be one.
        count: How many.
        seed: Of the random numbers.
    """
    random = np.random.default_rng(seed)
    names = tuple(KINDS)
    rounds = math.ceil(count / len(names))
    # Each kind meets the sizes in an order of its own, so that few defects still have sizes of all sorts.
    orders = {name: random.permutation(rounds) for name in names}
    defects = []
    for index in range(count):
        name = names[index % len(names)]
        place_in_range = (orders[name][index // len(names)] + random.random()) / rounds
        size = _SIZES[0] * (_SIZES[1] / _SIZES[0]) ** place_in_range
        donor = donors[int(random.integers(len(donors)))]
        defects.append(make_defect(part, donor, name, size, random))
    return tuple(defects)


def make_defect(
    part: GoodPart, donor: GoodPart, kind: str, size: float, random: np.random.Generator
) -> SyntheticDefect:
    """Draw one defect on a copy of a good picture.

    A defect that can hardly be seen (plain metal on plain metal) is drawn again elsewhere, a few times; the
    clearest is taken.

    Args:
        part: What it is drawn on.
        donor: What a patch is cut from.
        kind: An entry of :data:`KINDS`.
        size: Its area as a share of the inspected area; a line is as long as twice the side of a square of
            that area.
        random: Where chance comes from.
    """
    tries = []
    for _ in range(_TRIES):
        defect = _draw(part, donor, kind, size, random)
        changed = np.abs(defect.frame[defect.where].astype(np.int16) - part.frame[defect.where])
        tries.append((float(changed.mean()), defect))
        if tries[-1][0] >= _MIN_CONTRAST:
            break
    return max(tries, key=lambda made: made[0])[1]


def _draw(
    part: GoodPart, donor: GoodPart, kind: str, size: float, random: np.random.Generator
) -> SyntheticDefect:
    row, column = part.any_place(random)
    inspected_side = math.sqrt(len(part.places))
    side = math.sqrt(size) * inspected_side
    # On a window of the picture: blurring megapixels for a spot would take most of the time.
    reach = math.ceil(_REACH * side) + _REACH_PX
    top, left = max(row - reach, 0), max(column - reach, 0)
    window = (slice(top, row + reach + 1), slice(left, column + reach + 1))
    centre = float(column - left), float(row - top)
    place = _Place(part.frame[window], donor, centre, side, inspected_side)
    stencil, content = KINDS[kind](place, random)
    stencil[row - top, column - left] = 1  # never nothing, however thin and wherever it lies
    stencil = np.where(part.allowed[window] & (stencil >= _FAINTEST), stencil, np.float32(0))
    frame, where = part.frame.copy(), np.zeros(part.frame.shape[:2], dtype=np.bool_)
    frame[window] = _lay_on(place.frame, stencil, content)
    where[window] = stencil > 0
    return SyntheticDefect(kind, frame, where)


def _lay_on(frame: Frame, stencil: Stencil, content: Content) -> Frame:
    share = stencil[:, :, None]
    mixed = frame * (1 - share) + content * share
    return np.asarray(np.clip(np.rint(mixed), 0, 255), dtype=np.uint8)


def _patch(place: _Place, random: np.random.Generator) -> tuple[Stencil, Content]:
    """A rectangle cut from a good picture."""
    aspect = math.exp(random.uniform(-1, 1))
    stencil = _rectangle(place, place.side * math.sqrt(aspect), place.side / math.sqrt(aspect), random)
    return stencil, _cutting(place, random)


def _scar(place: _Place, random: np.random.Generator) -> tuple[Stencil, Content]:
    """A long thin rectangle cut from a good picture."""
    length = 2 * place.side
    stencil = _rectangle(place, length, length / random.uniform(5, 12), random)
    return stencil, _cutting(place, random)


def _blot(place: _Place, random: np.random.Generator) -> tuple[Stencil, Content]:
    """An uneven stain with a soft edge, darker or lighter than what is under it, which it blurs."""
    height, width = place.frame.shape[:2]
    corners = 12
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    # pi r^2 = side^2 on average
    radii = place.side / math.sqrt(math.pi) * random.uniform(0.6, 1.3, corners)
    outline = np.asarray(place.centre) + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    stencil = np.zeros((height, width), dtype=np.float32)
    cv2.fillPoly(stencil, [np.rint(outline).astype(np.int32)], 1.0)
    stencil = _softened(stencil, place.side / 10) * np.float32(random.uniform(0.6, 1.0))
    under = _blurred(place.frame.astype(np.float32), place.side / 6)
    shift = random.uniform(20, 70) * random.choice((-1, 1))
    tint = 30 * _colourfulness(place.frame) * random.uniform(-1, 1, 3)
    return stencil, np.asarray(under + shift + tint, dtype=np.float32)


def _scratch(place: _Place, random: np.random.Generator) -> tuple[Stencil, Content]:
    """A thin, slightly bent line, darker or lighter than what is under it."""
    height, width = place.frame.shape[:2]
    steps = 8
    bends = random.normal(0, 0.15, steps).cumsum() + random.uniform(0, 2 * np.pi)
    path = np.stack([np.cos(bends), np.sin(bends)], axis=1).cumsum(axis=0) * (2 * place.side / steps)
    path += np.asarray(place.centre) - path[steps // 2]
    thickness = max(1, round(min(place.inspected_side * random.uniform(0.004, 0.015), place.side / 3)))
    stencil = np.zeros((height, width), dtype=np.float32)
    cv2.polylines(stencil, [np.rint(path).astype(np.int32)], False, 1.0, thickness)
    shift = random.uniform(25, 90) * random.choice((-1, 1))
    content = np.asarray(place.frame + np.float32(shift), dtype=np.float32)
    return _softened(stencil, thickness / 4), content


KINDS: dict[str, Draw] = {"patch": _patch, "scar": _scar, "blot": _blot, "scratch": _scratch}
"""What is drawn; each gives a stencil and what is laid on through it."""


def _rectangle(place: _Place, length: float, breadth: float, random: np.random.Generator) -> Stencil:
    stencil = np.zeros(place.frame.shape[:2], dtype=np.float32)
    corners = cv2.boxPoints((place.centre, (length, max(breadth, 1.0)), random.uniform(0, 180)))
    cv2.fillPoly(stencil, [np.rint(corners).astype(np.int32)], 1.0)
    return stencil


def _cutting(place: _Place, random: np.random.Generator) -> Content:
    """The donor, turned and moved so that a random place of it lies at the centre, its colours jittered."""
    height, width = place.frame.shape[:2]
    row, column = place.donor.any_place(random)
    source = float(column), float(row)
    matrix = cv2.getRotationMatrix2D(source, random.uniform(0, 360), 1.0)
    matrix[0, 2] += place.centre[0] - source[0]
    matrix[1, 2] += place.centre[1] - source[1]
    moved = cv2.warpAffine(
        place.donor.frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    gain = random.uniform(0.8, 1.2) + 0.4 * _colourfulness(place.frame) * random.uniform(-1, 1, 3)
    shift = random.uniform(-25, 25)
    return np.asarray(moved * gain + shift, dtype=np.float32)


def _colourfulness(frame: Frame) -> float:
    """0 for a grey picture, on which a coloured defect would give itself away, to 1."""
    spread = frame.max(axis=2).astype(np.int16) - frame.min(axis=2)
    return float(min(spread.mean() / 64, 1.0))


def _softened(stencil: Stencil, sigma: float) -> Stencil:
    return np.asarray(cv2.GaussianBlur(stencil, (0, 0), max(sigma, 0.3)), dtype=np.float32)


def _blurred(frame: Content, sigma: float) -> Content:
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), max(sigma, 0.3)), dtype=np.float32)
