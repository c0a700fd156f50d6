"""A whole screening: encode, compare, guess a threshold, paint; continued where an earlier run ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgead_runtime import Encoder, Recipe
from edgead_runtime.calibration import NormalScore
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import PictureError

from edgead.jobs.screen.compare import compare_batch
from edgead.jobs.screen.encode import encode_batch
from edgead.jobs.screen.outputs import Screening, write_screening
from edgead.jobs.screen.work import WorkFolder, screening_settings
from edgead.screening.encoding import patch_shape
from edgead.screening.guess import guess_thresholds
from edgead.wording import count_of


@dataclass(frozen=True)
class ScreeningPlan:
    """What to screen."""

    paths: tuple[Path, ...]
    out: Path
    recipe: Recipe
    report_limit: int
    """How many pictures the report shows with images."""
    strict: bool = False
    overwrite: bool = False


def screen(encoder: Encoder, plan: ScreeningPlan, progress: Progress = ignore_progress) -> Screening:
    """Compare every picture with all the others and write records, overlays and the report.

    Features and distances are kept in ``plan.out/work`` as they are made. A run with the same settings on the
    same files goes on from them and gives the same bits; they are removed with the arrival of the results,
    which take the whole folder's place at once.

    Copies of a picture are no further references: beside its copy a defect would look normal. They get the
    score of the first.

    Memory: the encoder; the blocks of :mod:`edgead_runtime.batch_zero_shot`; sixteen pictures' features; and
    per picture of the batch a few kilobytes for its record. Nothing else grows with the batch but the disk.

    Args:
        encoder: The encoder; not closed.
        plan: What to screen.
        progress: Told of the stages ``encoding``, ``comparing`` and ``painting``.

    Raises:
        PictureError: Fewer than two pictures can be compared, or, with ``plan.strict``, one cannot be read.
        RecipeError: The recipe does not fit the encoder.
        OutputError: ``plan.out`` holds something else, or cannot be written.
    """
    patches = patch_shape(encoder, plan.recipe)
    settings = screening_settings(encoder, plan.recipe, plan.paths)
    grid = encoder.manifest.grid
    with WorkFolder(plan.out, settings, patches, grid, overwrite=plan.overwrite) as work:
        pipeline = encode_batch(encoder, plan.recipe, plan.paths, work, strict=plan.strict, progress=progress)
        if work.pictures.shape[0] < 2:
            error = _too_few(work)
            work.remove()
            raise error
        compare_batch(pipeline, work, progress)
        guess = guess_thresholds([NormalScore(line.image, line.map_peak) for line in work.scores.lines])
        return write_screening(
            pipeline,
            plan.paths,
            work,
            guess,
            plan.out,
            report_limit=plan.report_limit,
            strict=plan.strict,
            progress=progress,
        )


def _too_few(work: WorkFolder) -> PictureError:
    lines = work.pictures.lines
    unreadable = [line for line in lines if line.problem]
    copies = sum(line.copy_of is not None for line in lines)
    others = [
        *(
            [f"{count_of(len(unreadable), 'file')} cannot be read: {unreadable[0].problem}"]
            if unreadable
            else []
        ),
        *([f"{copies} of the same picture"] if copies else []),
    ]
    why = f" ({'; '.join(others)})" if others else ""
    return PictureError(
        f"there are fewer than two different pictures to compare{why}",
        "Give more pictures: each is judged by all the others, and most of them must be good.",
    )
