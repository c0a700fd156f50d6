"""Data sets laid out as folders: ``OBJECT/`` with ``train/good``, ``test/KIND`` and ``ground_truth/KIND``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgead.evaluation.datasets.sample import Category, DatasetError, Sample, pictures_in

_TEST = "test"
_GROUND_TRUTH = "ground_truth"


@dataclass(frozen=True)
class TreeLayout:
    """What the folders are called."""

    title: str
    train: tuple[str, ...]
    """Folders of good pictures to enrol, the first that exists counts."""
    good_kinds: tuple[str, ...]
    """Test folders whose pictures are good."""
    mask_endings: tuple[str, ...]
    """What follows the picture's name in the mask's, before the suffix."""

    def objects(self, root: Path) -> dict[str, Path]:
        """The objects under ``root`` with their folders; ``root`` itself where it is one.

        Raises:
            DatasetError: There is no such folder, or nothing in it is laid out so.
        """
        if not root.is_dir():
            raise DatasetError(f"there is no folder {root}", "Give the data set's folder as --root.")
        if self._is_object(root):
            return {root.resolve().name: root}
        found = {entry.name: entry for entry in sorted(root.iterdir()) if self._is_object(entry)}
        if found:
            return found
        inside = [entry for entry in sorted(root.iterdir()) if entry.is_dir()]
        for entry in inside:
            if any(self._is_object(below) for below in entry.iterdir()):
                raise DatasetError("the objects are one folder further down", f"Give --root {entry}.")
        raise DatasetError(
            f"{root} holds nothing in the layout of {self.title}: "
            f"OBJECT/{self.train[0]} and OBJECT/{_TEST}/{self.good_kinds[0]}",
            "Give the folder that holds the objects, or another --dataset.",
        )

    def load(self, root: Path, name: str) -> Category:
        """One object.

        Raises:
            DatasetError: There is none of that name, or it has no test pictures.
        """
        folder = self.objects(root)[name]
        train = next((pictures for place in self.train if (pictures := pictures_in(folder / place))), [])
        test = [
            sample
            for kind in sorted(entry for entry in (folder / _TEST).iterdir() if entry.is_dir())
            for sample in self._samples(folder, kind)
        ]
        if not test:
            raise DatasetError(f"there are no pictures in {folder / _TEST}", "Copy the data set again.")
        return Category(name, tuple(train), tuple(test))

    def _is_object(self, folder: Path) -> bool:
        return (folder / _TEST).is_dir() and any((folder / place).is_dir() for place in self.train)

    def _samples(self, folder: Path, kind: Path) -> list[Sample]:
        good = kind.name in self.good_kinds
        masks = {} if good else {mask.stem: mask for mask in pictures_in(folder / _GROUND_TRUTH / kind.name)}
        return [
            Sample(
                path=path,
                is_anomalous=not good,
                mask_path=next(
                    (masks[path.stem + end] for end in self.mask_endings if path.stem + end in masks), None
                ),
                kind=kind.name,
            )
            for path in pictures_in(kind)
        ]
