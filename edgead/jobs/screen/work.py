"""The work area inside the results folder: what a screening that was cut off goes on from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import edgead_runtime
import msgspec
from edgead_runtime import Encoder, Recipe
from edgead_runtime.errors import OutputError
from edgead_runtime.files import output_error, write_atomic
from edgead_runtime.json_text import UNREADABLE
from edgead_runtime.manifest import MaskDecision

from edgead._version import __version__
from edgead.jobs.file_states import file_state, recipe_state, what_differs
from edgead.jobs.own_folder import FolderKind, check_own_folder
from edgead.jobs.results_folder import RESULTS
from edgead.jobs.screen.record_log import Line, RecordLog
from edgead.records import shown_path

WORK = "work"
_SETTINGS_JSON = "settings.json"
_MASK_JSON = "mask.json"
_TEMPORARY = ".edgead-"
_MAKES = "edgead screen"


class PictureLine(Line, frozen=True, kw_only=True):
    """A picture that was encoded, could not be, or is a copy of an earlier one."""

    digest: str = ""
    size: tuple[int, int] = (0, 0)
    """(height, width)."""
    mask: bytes | None = None
    """Eight patches a byte."""
    copy_of: int | None = None
    """Index of the picture it is a copy of."""
    problem: str = ""
    remedy: str = ""
    timings_ms: Mapping[str, float] = msgspec.field(default_factory=dict)


class ScoreLine(Line, frozen=True, kw_only=True):
    """A picture that was compared with all the others."""

    image: float
    map_peak: float
    search_ms: float


def screening_settings(encoder: Encoder, recipe: Recipe, paths: Sequence[Path]) -> dict[str, Any]:
    """All that decides the outcome: method, encoder, versions, and the files by name, size and time."""
    listing = [(shown_path(path), *file_state(path)) for path in paths]
    return {
        "made_by": _MAKES,
        "encoder": encoder.fingerprint,
        "engine": encoder.engine_name,
        "recipe": recipe_state(recipe),
        "pictures": len(paths),
        "files": hashlib.sha256(json.dumps(listing).encode()).hexdigest(),
        "edgead": __version__,
        "edgead_runtime": edgead_runtime.__version__,
    }


def check_screening_folder(out: Path, *, overwrite: bool) -> None:
    """Check before the work that results can go to ``out``, or that there is a screening to go on with.

    Raises:
        OutputError: It is a file, holds results and ``overwrite`` is off, or holds something else.
    """
    if not _holds_work_alone(out):
        check_own_folder(out, _RESULTS_AND_WORK, overwrite=overwrite)


def _holds_work_alone(out: Path) -> bool:
    return out.is_dir() and [entry.name for entry in out.iterdir()] == [WORK] and _is_work(out / WORK)


def _is_work(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if all(entry.name.startswith(_TEMPORARY) for entry in folder.iterdir()):
        return True  # cut off before anything was written
    try:
        settings = json.loads((folder / _SETTINGS_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and settings.get("made_by") == _MAKES


_RESULTS_AND_WORK = FolderKind(
    name=RESULTS.name,
    members=RESULTS.members | {WORK},
    is_one=lambda out: RESULTS.is_one(out) and (not (out / WORK).exists() or _is_work(out / WORK)),
    option=RESULTS.option,
)


class WorkFolder:
    """``OUT/work``: features and distances as they are made. A context manager.

    Args:
        out: The results folder.
        settings: See :func:`screening_settings`.
        patches: (N, D) of every picture.
        grid: (rows, columns) of the patches.
        overwrite: Throw away work of other settings.

    Raises:
        OutputError: There is work of other settings, too little space, or the folder cannot be written.
    """

    def __init__(
        self,
        out: Path,
        settings: dict[str, Any],
        patches: tuple[int, int],
        grid: tuple[int, int],
        *,
        overwrite: bool,
    ) -> None:
        self.folder = out / WORK
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        _prepare(self.folder, text, overwrite=overwrite)
        _check_space(self.folder, settings["pictures"] * 4 * math.prod(patches))
        self.pictures = RecordLog(self.folder, "features", patches, PictureLine)
        self.scores = RecordLog(self.folder, "distances", grid, ScoreLine)
        if len(self.scores.lines) > self.pictures.shape[0]:
            # Compared with features that are lost since.
            self.scores.clear()

    def load_mask(self) -> MaskDecision | None:
        """The decision about the mask, if it was taken already."""
        try:
            return msgspec.json.decode((self.folder / _MASK_JSON).read_bytes(), type=MaskDecision)
        except (OSError, *UNREADABLE):
            return None

    def save_mask(self, decision: MaskDecision) -> None:
        """Keep the decision.

        Raises:
            OutputError: It cannot be written.
        """
        write_atomic(self.folder / _MASK_JSON, msgspec.json.encode(decision))

    def close(self) -> None:
        """Close the files; they stay."""
        self.pictures.close()
        self.scores.close()

    def remove(self) -> None:
        """Throw the work away, and the results folder where nothing else is in it."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _prepare(folder: Path, settings: str, *, overwrite: bool) -> None:
    mark = folder / _SETTINGS_JSON
    try:
        before = mark.read_text(encoding="utf-8", errors="replace") if mark.exists() else settings
        if before != settings:
            if not overwrite:
                raise OutputError(
                    f"{folder.parent} holds an unfinished screening with other settings or pictures "
                    f"({what_differs(before, settings)})",
                    "Give another folder after -o, or --overwrite to start anew.",
                )
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    write_atomic(mark, settings.encode())


def _check_space(folder: Path, needed: int) -> None:
    """Refuse at once what would fill the disk hours later."""
    there = sum(entry.stat().st_size for entry in folder.iterdir())
    free = shutil.disk_usage(folder).free
    if needed - there > free:
        raise OutputError(
            f"the features of these pictures take {needed / 1e9:.1f} GB, and for {folder} there are "
            f"{free / 1e9:.1f} GB",
            "Free some space, give another folder after -o, or an encoder of a smaller --res.",
        )
