"""Labelled pictures for the gate of a precision, from the layouts that people have."""

from __future__ import annotations

import functools
from pathlib import Path

from edgead_runtime.agreement import LabelledPictures
from edgead_runtime.errors import EdgeadError
from edgead_runtime.images import Frame, find_pictures, read_picture

REFERENCES = 4
"""Good pictures that the others are compared with."""


def read_labelled(folder: Path) -> LabelledPictures:
    """Pictures of one part whose truth is known.

    Args:
        folder: With ``train/good`` and ``test/KIND`` as in MVTec-AD, or with ``good`` and folders of defects.
            Then the first four good pictures are what the others are compared with.

    Raises:
        EdgeadError: It is laid out in another way, or has too few pictures.
        PictureError: A reference cannot be read.
    """
    kinds = _folders(folder / "test") if (folder / "train" / "good").is_dir() else _folders(folder)
    if "good" not in kinds or len(kinds) < 2:
        raise EdgeadError(
            f"{folder} has no good/ with folders of defects beside it",
            "Give a folder with good/ and, for example, scratch/, or one object of a data set.",
        )
    good = find_pictures([kinds["good"]])
    references = find_pictures([folder / "train" / "good"]) if (folder / "train" / "good").is_dir() else good
    if references is good:
        good = good[REFERENCES:]
    bad = [path for name, kind in kinds.items() if name != "good" for path in find_pictures([kind])]
    if not good or not bad:
        raise EdgeadError(
            f"{folder} has {len(good)} good and {len(bad)} defective pictures to judge on",
            f"Give more than {REFERENCES} good ones and at least one defective one.",
        )
    return LabelledPictures(
        references=tuple(read_picture(path).frame for path in references[:REFERENCES]),
        pictures=tuple(functools.partial(_frame, path) for path in (*good, *bad)),
        defective=(False,) * len(good) + (True,) * len(bad),
    )


def _folders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {entry.name: entry for entry in sorted(folder.iterdir()) if entry.is_dir()}


def _frame(path: Path) -> Frame:
    return read_picture(path).frame
