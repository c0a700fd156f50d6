"""VisA: pictures and masks are listed in ``split_csv/1cls.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgead.evaluation.datasets.sample import Category, DatasetError, Sample

SPLIT = PurePosixPath("split_csv/1cls.csv")
_COLUMNS = ("object", "split", "label", "image", "mask")
_SPLITS = ("train", "test")
_LABELS = ("normal", "anomaly")


@dataclass(frozen=True)
class _Row:
    line: int
    object: str
    split: str
    label: str
    image: str
    mask: str


@dataclass(frozen=True)
class VisaLayout:
    """The one-class split, as shipped."""

    title: str = "VisA"

    def objects(self, root: Path) -> dict[str, Path]:
        """The objects that the split lists.

        Raises:
            DatasetError: The split cannot be read.
        """
        return {row.object: root / row.object for row in sorted(_rows(root), key=lambda row: row.object)}

    def load(self, root: Path, name: str) -> Category:
        """One object.

        Raises:
            DatasetError: The split cannot be read, or names files outside the data set.
        """
        rows = [row for row in _rows(root) if row.object == name]
        for row in rows:
            if row.split == "train" and row.label == "anomaly":
                raise _bad_row(root, row.line, "a training picture is labelled as anomaly")
        return Category(
            name,
            tuple(sorted(_inside(root, row, row.image) for row in rows if row.split == "train")),
            tuple(sorted((_sample(root, row) for row in rows if row.split == "test"), key=lambda s: s.path)),
        )


def _sample(root: Path, row: _Row) -> Sample:
    anomalous = row.label == "anomaly"
    mask = _inside(root, row, row.mask) if anomalous and row.mask else None
    return Sample(
        path=_inside(root, row, row.image),
        is_anomalous=anomalous,
        # A mask that is listed but was not copied is a missing mask, as in the other layouts.
        mask_path=mask if mask is not None and mask.is_file() else None,
        kind=row.label,
    )


def _rows(root: Path) -> list[_Row]:
    path = root / SPLIT
    if not path.is_file():
        raise DatasetError(
            f"{root} has no {SPLIT}", "Give the folder of VisA as it is unpacked, with split_csv in it."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{path} has no column {', '.join(missing)}", "Unpack VisA again.")
            rows = [
                _Row(number, *((record[column] or "").strip() for column in _COLUMNS))
                for number, record in enumerate(reader, start=2)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read ({error})", "Unpack VisA again.") from error
    for row in rows:
        if PurePosixPath(row.object).name != row.object:
            raise _bad_row(root, row.line, f"object '{row.object}' is not the name of a folder")
        if row.split not in _SPLITS or row.label not in _LABELS or not row.object or not row.image:
            raise _bad_row(root, row.line, f"split '{row.split}', label '{row.label}', image '{row.image}'")
    if not rows:
        raise DatasetError(f"{path} lists no pictures", "Unpack VisA again.")
    return rows


def _inside(root: Path, row: _Row, name: str) -> Path:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise _bad_row(root, row.line, f"'{name}' lies outside the data set")
    return root / parts


def _bad_row(root: Path, line: int, what: str) -> DatasetError:
    return DatasetError(f"line {line} of {root / SPLIT} is wrong: {what}", "Unpack VisA again.")
