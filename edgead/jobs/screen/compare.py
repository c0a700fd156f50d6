"""Second half of a screening: every picture against all the others, and what that says of each."""

from __future__ import annotations

import time

import numpy as np
from edgead_runtime.enrollment import Progress
from edgead_runtime.masking import Mask
from edgead_runtime.patch_distances import PatchDistances
from edgead_runtime.pipeline import Pipeline

from edgead.jobs.screen.work import PictureLine, ScoreLine, WorkFolder
from edgead.screening.comparing import compare_with_others


def compare_batch(pipeline: Pipeline, work: WorkFolder, progress: Progress) -> None:
    """Compare what is not compared yet; each picture's distances are kept as soon as they are there.

    Args:
        pipeline: The method.
        work: Holds the features; gets the distances, in the same order.
        progress: Told of the stage ``comparing``.

    Raises:
        OutputError: The work area cannot be read or written.
    """
    encoded = [line for line in work.pictures.lines if line.record]
    for index, line in enumerate(encoded):
        progress("comparing", index, len(encoded))
        if index < len(work.scores.lines):
            continue
        start = time.perf_counter()
        distances = compare_with_others(pipeline, work.pictures, index, unpack_mask(line, pipeline))
        seconds = time.perf_counter() - start
        score = pipeline.normal_score(PatchDistances.alike(distances), line.size)
        work.scores.append(
            ScoreLine(image=score.image, map_peak=score.map_peak, search_ms=seconds * 1e3), distances
        )
    progress("comparing", len(encoded), len(encoded))


def unpack_mask(line: PictureLine, pipeline: Pipeline) -> Mask | None:
    """A picture's mask ``[rows, columns]``; ``None`` where the batch is not masked."""
    if line.mask is None:
        return None
    rows, columns = pipeline.encoder.manifest.grid
    bits = np.unpackbits(np.frombuffer(line.mask, dtype=np.uint8), count=rows * columns)
    return bits.astype(np.bool_).reshape(rows, columns)
