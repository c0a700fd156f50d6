"""The jobs that the ways are given: pictures, detectors and the plain export, made once."""

from __future__ import annotations

import functools

from edgead_runtime import Detector, Picture, get_recipe, read_picture
from edgead_runtime.manifest import Interpolation

from benchmarks.baselines.job import Job
from benchmarks.baselines.weights import export_plainly
from benchmarks.common import OUT, PAPERS_RESIZE, encoder_bundle, real_frames, write_frames

ALL_BLOCKS = 12


@functools.cache
def job_for(resolution: int, side: int = 1024) -> Job:
    """One reference in eight rotations, no mask, all twelve blocks; made anew by every run of a benchmark.

    Args:
        resolution: Side of the encoder's input.
        side: Of the frames.
    """
    paths = write_frames(OUT / "frames", side)
    detectors = []
    recipe = get_recipe("anomalydino").with_(mask="off")
    resizes: tuple[Interpolation, ...] = (PAPERS_RESIZE, "area")
    for resize in resizes:
        detectors.append(OUT / f"latency_{resolution}_{resize}.edgead")
        bundle = encoder_bundle(resolution, (ALL_BLOCKS,), fuse=True, resize=resize)
        with Detector.enroll(bundle, [read_picture(paths[0])], recipe=recipe) as made:
            made.save(detectors[-1])
    plain = OUT / f"plain_{resolution}.onnx"
    print(f"exporting plainly at {resolution}", flush=True)
    export_plainly(plain, resolution)
    return Job(resolution, tuple(map(str, paths)), *map(str, detectors), plain_onnx=str(plain))


def references(count: int, side: int = 1024) -> list[Picture]:
    """Different pictures to fill a bank with."""
    return [Picture(f"{index}.png", frame) for index, frame in enumerate(real_frames(side, count))]
