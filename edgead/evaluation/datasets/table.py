"""The data sets that ``edgead eval --dataset`` knows. A new one is a new entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from edgead.evaluation.datasets.sample import Category, DatasetError
from edgead.evaluation.datasets.tree import TreeLayout
from edgead.evaluation.datasets.visa import VisaLayout


class Layout(Protocol):
    """How a data set lies on the disk."""

    @property
    def title(self) -> str:
        """The data set's name as its authors write it."""

    def objects(self, root: Path) -> dict[str, Path]:
        """Its objects in order, with their folders."""

    def load(self, root: Path, name: str) -> Category:
        """One of them."""


@dataclass(frozen=True)
class Dataset:
    """A data set by the name it has on the command line."""

    name: str
    layout: Layout

    @property
    def title(self) -> str:
        """The name its authors gave it."""
        return self.layout.title

    def objects(self, root: Path, wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The objects under ``root``, or those of them that are ``wanted``, in that order.

        Raises:
            DatasetError: The folder is laid out otherwise, or has no object of a wanted name.
        """
        there = self.layout.objects(root)
        unknown = [name for name in wanted if name not in there]
        if unknown:
            raise DatasetError(f"{root} has no object {', '.join(unknown)}", f"It has: {', '.join(there)}.")
        return tuple(dict.fromkeys(wanted)) or tuple(there)

    def load(self, root: Path, name: str) -> Category:
        """One object.

        Raises:
            DatasetError: It is not there or cannot be used.
        """
        self.objects(root, (name,))
        return self.layout.load(root, name)


_GOOD = ("good", "ok", "normal")

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        name: Dataset(name, layout)
        for name, layout in (
            ("mvtec", TreeLayout("MVTec-AD", ("train/good",), ("good",), ("_mask",))),
            ("visa", VisaLayout()),
            ("btad", TreeLayout("BTAD", ("train/ok",), ("ok",), ("",))),
            ("mpdd", TreeLayout("MPDD", ("train/good",), ("good",), ("_mask",))),
            (
                "folder",
                TreeLayout(
                    "a plain folder",
                    ("train/good", "train/ok", "train/normal", "good", "train"),
                    _GOOD,
                    ("_mask", ""),
                ),
            ),
        )
    }
)


def get_dataset(name: str) -> Dataset:
    """A data set by name.

    Raises:
        DatasetError: There is none of that name.
    """
    try:
        return DATASETS[name]
    except KeyError:
        raise DatasetError(f"unknown data set '{name}'", f"Choose one of: {', '.join(DATASETS)}.") from None
