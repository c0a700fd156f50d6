"""The demo's pictures: real solar cells, and the rule that chooses them.

They come from the wheel ``elpv-dataset`` (electroluminescence pictures of 2,624 solar cells, 300 x 300 px,
CC BY-NC-SA 4.0). :data:`RULE` says which of them are used, and why those.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from edgead_runtime.files import atomic_folder

WHEEL = "elpv-dataset"
WHEEL_VERSION = "1.0.0.post1"
WHEEL_SHA256 = "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c"

RULE = (
    "Cells 361 to 540 are mono-crystalline and of one layout (three busbars; one contiguous run in the "
    "data set). References: the first 8 of them labelled 0.0, in the order of their numbers. Test, good: the "
    "other cells labelled 0.0. Test, defective: every 6th, beginning with the first, of those labelled 1.0. "
    "Cells labelled 1/3 or 2/3 are left out. Nothing is chosen by result."
)
LICENCE = (
    "Pictures: ELPV dataset by Buerhop-Lutz et al. (2018) and Deitsch et al. (2019, 2021), under "
    "Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0, "
    "creativecommons.org/licenses/by-nc-sa/4.0): not for commercial use."
)

_FIRST_CELL, _LAST_CELL = 361, 540
_REFERENCES = 8
_DEFECTIVE_STEP = 6
_DATA = "elpv_dataset/data/"
_METADATA = f"elpv_dataset-{WHEEL_VERSION}.dist-info/METADATA"
_LABEL_LINE = re.compile(r"(?P<member>images/cell(?P<number>\d+)\.png)\s+(?P<probability>[\d.]+)\s+\w+")
_MARKDOWN_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


@dataclass(frozen=True)
class Split:
    """Members of the wheel, by the use that is made of them."""

    references: tuple[str, ...]
    good: tuple[str, ...]
    defective: tuple[str, ...]


@dataclass(frozen=True)
class DemoPictures:
    """Where the pictures of a demo are."""

    references: Path
    good: Path
    defective: Path
    citations: tuple[str, ...]
    """Publications to name, from the wheel's own metadata."""


def split_cells(labels: str) -> Split:
    """Apply :data:`RULE` to the data set's table of labels."""
    matches = [match for line in labels.splitlines() if (match := _LABEL_LINE.fullmatch(line.strip()))]
    layout = sorted(
        (int(match["number"]), float(match["probability"]), _DATA + match["member"])
        for match in matches
        if _FIRST_CELL <= int(match["number"]) <= _LAST_CELL
    )
    good = tuple(member for _, probability, member in layout if probability == 0)
    defective = tuple(member for _, probability, member in layout if probability == 1)
    return Split(
        references=good[:_REFERENCES], good=good[_REFERENCES:], defective=defective[::_DEFECTIVE_STEP]
    )


def unpack_pictures(wheel: Path, folder: Path) -> DemoPictures:
    """Unpack the chosen pictures into ``references`` and ``pictures`` under ``folder``.

    Args:
        wheel: The verified wheel file.
        folder: Existing folder; what an earlier demo unpacked there is replaced.

    Raises:
        OutputError: The pictures cannot be written.
    """
    with zipfile.ZipFile(wheel) as archive:
        split = split_cells(archive.read(_DATA + "labels.csv").decode("utf-8"))
        citations = _citations(archive.read(_METADATA).decode("utf-8"))
        with atomic_folder(folder / "references", overwrite=True) as references:
            _unpack(archive, split.references, references)
        with atomic_folder(folder / "pictures", overwrite=True) as pictures:
            _unpack(archive, split.good, pictures / "good")
            _unpack(archive, split.defective, pictures / "defective")
    return DemoPictures(
        references=folder / "references",
        good=folder / "pictures" / "good",
        defective=folder / "pictures" / "defective",
        citations=citations,
    )


def _unpack(archive: zipfile.ZipFile, members: tuple[str, ...], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for member in members:
        (folder / Path(member).name).write_bytes(archive.read(member))


def _citations(metadata: str) -> tuple[str, ...]:
    """The block quotes of the wheel's description, which are the publications it asks to be named."""
    description = message_from_string(metadata).get_payload()
    quotes = [line[2:] for line in str(description).splitlines() if line.startswith("> ")]
    return tuple(_MARKDOWN_LINK.sub(r"\1", quote) for quote in quotes)
