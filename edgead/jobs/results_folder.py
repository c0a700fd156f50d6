"""The results folder: whole or not there, and never in the place of something else."""

from __future__ import annotations

import json
from pathlib import Path

from edgead_runtime.errors import PictureError
from edgead_runtime.images import find_pictures

from edgead.jobs.own_folder import FolderKind, check_own_folder
from edgead.records import OVERLAYS, RESULTS_CSV, RESULTS_JSONL

REPORT_HTML = "report.html"


def _is_results(folder: Path) -> bool:
    try:
        with (folder / RESULTS_JSONL).open(encoding="utf-8") as stream:
            first = json.loads(stream.readline() or "{}")
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "provenance" in first


RESULTS = FolderKind(
    name="results",
    members=frozenset({REPORT_HTML, RESULTS_JSONL, RESULTS_CSV, OVERLAYS}),
    is_one=_is_results,
    option="-o",
)


def check_results_folder(out: Path, *, overwrite: bool) -> None:
    """Check before the work that results can go to ``out``.

    Raises:
        OutputError: It is a file, holds results and ``overwrite`` is off, or holds something else.
    """
    check_own_folder(out, RESULTS, overwrite=overwrite)


def pictures_to_inspect(paths: list[Path], out: Path) -> list[Path]:
    """The pictures under ``paths``, without those of an earlier run in ``out``.

    Raises:
        PictureError: A path does not exist, or there are no pictures.
    """
    results = out.resolve()
    found = [path for path in find_pictures(paths) if not path.resolve().is_relative_to(results)]
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise PictureError(
            f"there are no pictures in {where}", "Give PNG, JPEG, TIFF, BMP or WebP files or folders."
        )
    return found
