"""What an evaluation needs to know of a data set, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgead_runtime import EdgeadError
from edgead_runtime.images import PICTURE_SUFFIXES
from numpy.typing import NDArray
from PIL import Image


class DatasetError(EdgeadError):
    """A data set's folder is not laid out as it should be, or a part of it cannot be used."""


@dataclass(frozen=True)
class Sample:
    """One test picture and its truth."""

    path: Path
    is_anomalous: bool
    mask_path: Path | None
    """Where its defects are; ``None`` for good pictures, and where no mask was shipped."""
    kind: str
    """Folder or label that says what it shows: ``good``, ``crack``, ..."""


@dataclass(frozen=True)
class Category:
    """One object of a data set."""

    name: str
    train: tuple[Path, ...]
    """Good pictures to draw references from, sorted."""
    test: tuple[Sample, ...]

    @property
    def has_masks(self) -> bool:
        """Whether there is any pixel truth."""
        return any(sample.mask_path is not None for sample in self.test)

    @property
    def without_mask(self) -> tuple[Sample, ...]:
        """Defective pictures whose defects nobody marked."""
        return tuple(sample for sample in self.test if sample.is_anomalous and sample.mask_path is None)


def few_shot(train: Sequence[Path], shots: int, seed: int) -> list[Path]:
    """The references of a run: ``sorted(train)[seed * shots : (seed + 1) * shots]``.

    Raises:
        DatasetError: There are not that many good pictures.

    Source: AnomalyDINO's release.
    """
    chosen = sorted(train)[seed * shots : (seed + 1) * shots]
    if len(chosen) < shots:
        raise DatasetError(
            f"{shots} shots with seed {seed} need {(seed + 1) * shots} good pictures, "
            f"and there are {len(train)}",
            "Ask for fewer --shots or --seeds.",
        )
    return chosen


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in a folder, sorted by name; none where there is no folder.

    Files that end like pictures but cannot be read are among them: leaving them out unseen would change
    the test set.
    """
    if not folder.is_dir():
        return []
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in PICTURE_SUFFIXES and entry.is_file() and not entry.name.startswith(".")
    )


def read_mask(path: Path, picture: Path, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a mask; every pixel that is not black is defective.

    Args:
        path: The mask, of any mode.
        picture: Its picture, for messages.
        size_hw: The picture's height and width in pixels.

    Returns:
        ``[H, W]``.

    Raises:
        DatasetError: It cannot be read, or has another size than its picture.
    """
    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L") or image.mode.startswith("I")
            values = np.asarray(image if grey else image.convert("RGB"))
    except Exception as error:
        raise DatasetError(
            f"the mask {path} cannot be read ({error})", "Copy it from the data set again."
        ) from error
    marked: NDArray[np.bool_] = np.greater(values, 0)
    if not grey:
        marked = np.asarray(marked.any(axis=2))
    if marked.shape != size_hw:
        raise DatasetError(
            f"the mask {path} is {marked.shape[1]} x {marked.shape[0]} pixels and its picture {picture} is "
            f"{size_hw[1]} x {size_hw[0]}",
            "Masks are not resized, for that would change the truth: give both in the size they were made.",
        )
    return marked
