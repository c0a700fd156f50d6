"""First half of a screening: every picture is encoded once, and what is kept goes to the work area."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from edgead_runtime import Encoder, Recipe, read_picture
from edgead_runtime.enrollment import Progress
from edgead_runtime.errors import PictureError
from edgead_runtime.pipeline import Pipeline
from numpy.typing import NDArray

from edgead.jobs.inspection import naming
from edgead.jobs.screen.work import PictureLine, WorkFolder
from edgead.records import writable
from edgead.screening.encoding import EncodedPicture, decide_batch_mask, encode_frame


def encode_batch(
    encoder: Encoder,
    recipe: Recipe,
    paths: Sequence[Path],
    work: WorkFolder,
    *,
    strict: bool,
    progress: Progress,
) -> Pipeline:
    """Encode what is not encoded yet, each picture once and in order.

    Args:
        encoder: The encoder.
        recipe: The method.
        paths: The batch.
        work: Gets one line for each path.
        strict: Raise at the first picture that cannot be read.
        progress: Told of the stage ``encoding``.

    Returns:
        The method with its mask decision.

    Raises:
        PictureError: With ``strict``, a picture cannot be read.
        OutputError: The work area cannot be written.
    """
    decision = work.load_mask()
    sampled: dict[int, EncodedPicture] = {}
    if decision is None:
        decision, sampled = decide_batch_mask(encoder, recipe, paths)
        work.save_mask(decision)
    pipeline = Pipeline(encoder, recipe, decision)
    lines = work.pictures.lines
    first_of = {line.digest: index for index, line in enumerate(lines) if line.record}
    for index, path in enumerate(paths):
        progress("encoding", index, len(paths))
        if index >= len(lines):
            work.pictures.append(*_line(pipeline, index, path, sampled.pop(index, None), first_of))
        line = lines[index]
        if strict and line.problem:
            raise naming(path, PictureError(line.problem, line.remedy))
    progress("encoding", len(paths), len(paths))
    return pipeline


def _line(
    pipeline: Pipeline, index: int, path: Path, encoded: EncodedPicture | None, first_of: dict[str, int]
) -> tuple[PictureLine, NDArray[np.float32] | None]:
    """What the work area gets of a picture: its line and, unless it is a copy, its patches."""
    try:
        if encoded is None:
            encoded = encode_frame(pipeline.encoder, pipeline.recipe, read_picture(path).frame)
    except PictureError as error:
        return PictureLine(problem=writable(error.problem), remedy=writable(error.remedy)), None
    line = PictureLine(digest=encoded.digest, size=encoded.frame_hw, timings_ms=encoded.timings_ms)
    first = first_of.setdefault(encoded.digest, index)
    if first != index:
        return msgspec.structs.replace(line, copy_of=first), None
    start = time.perf_counter()
    mask = pipeline.find_mask(encoded.features)
    if mask is None:
        return line, encoded.patches
    timings = {**encoded.timings_ms, "mask": (time.perf_counter() - start) * 1e3}
    packed = np.packbits(mask).tobytes()
    return msgspec.structs.replace(line, mask=packed, timings_ms=timings), encoded.patches
