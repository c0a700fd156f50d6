"""The results folder: whole or not there, and never in the place of something else."""

from __future__ import annotations

from pathlib import Path

from edgead_runtime.errors import OutputError, PictureError
from edgead_runtime.images import find_pictures

from edgead.records import RESULTS_JSONL

REPORT_HTML = "report.html"


def check_results_folder(out: Path, *, overwrite: bool) -> None:
    """Check before the work that results can go to ``out``.

    Raises:
        OutputError: It is a file, holds something and ``overwrite`` is off, or was not written by edgead.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, and results are a folder", "Give the name of a folder after -o.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / RESULTS_JSONL).is_file():
        raise OutputError(
            f"{out} holds files that edgead did not write, and they are not replaced",
            "Give a new folder after -o.",
        )
    if not overwrite:
        raise OutputError(f"{out} already holds results", "Add --overwrite, or give a new folder after -o.")


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
