"""What a screening ends with: the same records, overlays and report as an inspection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgead_runtime.enrollment import Progress
from edgead_runtime.errors import PictureError
from edgead_runtime.files import atomic_folder
from edgead_runtime.images import Frame, frame_digest, read_picture
from edgead_runtime.manifest import MaskDecision
from edgead_runtime.notes import frame_notes
from edgead_runtime.pipeline import Pipeline

from edgead._version import __version__
from edgead.jobs.detect import Detection
from edgead.jobs.inspection import Gallery, naming, overlay_name, record_result
from edgead.jobs.results_folder import REPORT_HTML
from edgead.jobs.screen.compare import unpack_mask
from edgead.jobs.screen.report import screening_report
from edgead.jobs.screen.work import PictureLine, WorkFolder
from edgead.records import (
    OVERLAYS,
    RESULTS_CSV,
    RESULTS_JSONL,
    FailedPicture,
    PictureRecord,
    shown_path,
    write_results_csv,
    write_results_jsonl,
)
from edgead.report.html import render_report
from edgead.screening.comparing import make_result
from edgead.screening.guess import ThresholdGuess


@dataclass(frozen=True)
class Screening(Detection):
    """Outcome of a screening."""

    guess: ThresholdGuess
    mask: MaskDecision
    background_weight: float
    copies: Mapping[str, str]
    """File by file: what is a copy, and of what."""
    notes: tuple[str, ...]
    """What a person should know of how the pictures fit the encoder."""

    def summary(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            **super().summary(),
            "threshold": {**asdict(self.guess), "is_a_guess": True},
            "masked": self.mask.enabled,
            "mask_reason": self.mask.reason,
            "copies": dict(self.copies),
            "notes": list(self.notes),
        }


def write_screening(
    pipeline: Pipeline,
    paths: Sequence[Path],
    work: WorkFolder,
    guess: ThresholdGuess,
    out: Path,
    *,
    report_limit: int,
    strict: bool,
    progress: Progress,
) -> Screening:
    """Read every picture once more, paint it, and put the results in the place of the work area.

    Args:
        pipeline: The method.
        paths: The batch.
        work: Finished; gone afterwards.
        guess: The thresholds.
        out: Results folder.
        report_limit: How many pictures the report shows with images.
        strict: Raise at the first picture that cannot be read any more.
        progress: Told of the stage ``painting``.

    Raises:
        PictureError: With ``strict``, a picture cannot be read any more.
        OutputError: The results cannot be written.
    """
    lines = work.pictures.lines
    slots = _slots(lines)
    gallery = Gallery(report_limit)
    records: list[PictureRecord] = []
    # Both the work area and earlier results go when the new results stand.
    with atomic_folder(out, overwrite=True) as folder:
        (folder / OVERLAYS).mkdir()
        for index, (path, line) in enumerate(zip(paths, lines, strict=True)):
            progress("painting", index, len(paths))
            try:
                frame = _read_again(path, line)
            except PictureError as error:
                if strict:
                    raise naming(path, error) from error
                records.append(FailedPicture(shown_path(path), error.problem, error.remedy))
                continue
            slot = slots[index]
            first = lines[index if line.copy_of is None else line.copy_of]
            result = make_result(
                pipeline,
                work.scores[slot : slot + 1][0],
                unpack_mask(first, pipeline),
                line.size,
                guess,
                {**line.timings_ms, "search": work.scores.lines[slot].search_ms},
            )
            overlay = f"{OVERLAYS}/{overlay_name(index, path)}"
            records.append(record_result(path, frame, result, folder, overlay, gallery))
        progress("painting", len(paths), len(paths))
        screening = Screening(
            records=tuple(records),
            out=out,
            labels={},
            guess=guess,
            mask=pipeline.mask,
            background_weight=pipeline.recipe.background_weight,
            copies={
                shown_path(path): shown_path(paths[line.copy_of])
                for path, line in zip(paths, lines, strict=True)
                if line.copy_of is not None
            },
            notes=frame_notes(pipeline.encoder, [line.size for line in lines if line.record]),
        )
        provenance = {
            "screening": "each picture against all the others",
            "pictures": guess.pictures,
            "threshold": "a guess from the batch itself",
            "edgead": __version__,
            **asdict(pipeline.provenance),
        }
        write_results_jsonl(folder / RESULTS_JSONL, records, provenance)
        write_results_csv(folder / RESULTS_CSV, records)
        report = screening_report(
            pipeline, guess, records, gallery.by_file(), screening.copies, screening.notes
        )
        (folder / REPORT_HTML).write_text(render_report(report), encoding="utf-8")
        work.close()
    return screening


def _slots(lines: Sequence[PictureLine]) -> dict[int, int]:
    """Where each picture's distances are: its own, or those of the picture it is a copy of."""
    slots: dict[int, int] = {}
    distinct = 0
    for index, line in enumerate(lines):
        if line.copy_of is not None:
            slots[index] = slots[line.copy_of]
        elif line.record:
            slots[index] = distinct
            distinct += 1
    return slots


def _read_again(path: Path, line: PictureLine) -> Frame:
    """The picture that was compared.

    Raises:
        PictureError: It could not be read then or cannot now, or is another one.
    """
    if line.problem:
        raise PictureError(line.problem, line.remedy)
    frame = read_picture(path).frame
    if frame_digest(frame) != line.digest:
        raise PictureError(f"{path.name} was changed during the screening", "Screen the batch again.")
    return frame
