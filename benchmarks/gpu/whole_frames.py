"""A picture in memory to its score, host to host: a detector in every engine, for banks of several sizes.

The good pictures are enrolled once, in ONNX Runtime on the processor in fp32, and every way loads that bank:
``error`` is then what the way itself adds to the score.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.index import EXACT
from edgead_runtime.manifest import Precision

from benchmarks.gpu.device_runs import tensorrt_precisions
from benchmarks.gpu.job import Job, frames_of
from benchmarks.gpu.provider import CPU, CUDA, TENSORRT, TITLES, ProviderSession, tensorrt_options
from benchmarks.gpu.sdpa import PRECISION, torch_frames
from benchmarks.gpu.turns import Run, Way, left_out_rows, open_all, rows_of, take_turns, timed, try_each

REFERENCE = Way(TITLES[CPU], "fp32", "stages")
PLAIN = Way(TITLES[CUDA], "fp32", "stages")
RECIPE = get_recipe("anomalydino-informed").with_(mask="off")
"""One view of each good picture, nothing masked."""
_FORMS = {"frame graph": True, "stages": False}


def openings(job: Job) -> dict[Way, Callable[[], Encoder]]:
    """Every way to run the encoder; one that is not here fails when it is opened, and says why."""
    ways: dict[Way, Callable[[], Encoder]] = {}
    for precision in dict.fromkeys(("fp32", *job.precisions)):
        for form, fused in _FORMS.items():
            if fused and job.manifest.frame_of(precision) is None:
                continue
            load = partial(Encoder.load, job.folder, precision=precision, fused=fused)
            if precision in job.precisions:
                ways[Way(job.flavour, precision, form)] = partial(load, engine=job.flavour)
            ways[Way(TITLES[CUDA], precision, form)] = partial(load, engine="onnxruntime", device="cuda")
            if job.here is None:
                ways[Way(TITLES[CPU], precision, form)] = partial(load, engine="onnxruntime", device="cpu")
    for precision in tensorrt_precisions(job):
        for form, fused in _FORMS.items():
            if not fused or job.manifest.frame is not None:
                opening = partial(_on_tensorrt, job, precision, fused=fused)
                ways[Way(TITLES[TENSORRT], precision, form)] = opening
    torch = Way("PyTorch with SDPA", PRECISION[job.device], "all in torch")
    ways[torch] = partial(torch_frames, job.bundle, job.device, job.weights)
    return ways


def measure(job: Job) -> list[dict[str, Any]]:
    """Rows of every bank, each compared with ONNX Runtime on CUDA in fp32 by the stages."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        reference = stack.enter_context(
            Encoder.load(job.folder, engine="onnxruntime", device="cpu", fused=False)
        )
        files = enroll(job, reference)
        left_out: dict[Way, str] = {}
        encoders = open_all(openings(job), stack, left_out)
        rows += left_out_rows(left_out)
        for good, path in files.items():
            rows += _of_bank(job, good, path, reference, encoders)
    return rows


def enroll(job: Job, reference: Encoder) -> dict[int, Path]:
    """A detector for each size of the bank, by the number of good pictures."""
    side = job.frames[0].shape[0]
    pictures = frames_of(len(job.frames) + max(job.good), side)[len(job.frames) :]
    counts = sorted(set(job.good))
    print(f"enrolling {counts[-1]} good pictures on the processor", flush=True)
    detector = Detector.enroll(reference, pictures[: counts[0]], recipe=RECIPE, threshold=1.0)
    files = {}
    for count in counts:
        for index in range(len(detector.references), count):
            detector.add_good(pictures[index], name=f"good-{index}")
        files[count] = job.scratch / f"{count}.edgead"
        detector.save(files[count])
    return files


def _of_bank(
    job: Job, good: int, path: Path, reference: Encoder, encoders: Mapping[Way, Encoder]
) -> list[dict[str, Any]]:
    print(f"timing whole frames with {good} good pictures", flush=True)
    bank = {"good": good, "patches": good * _patches(job), "blocks": job.blocks_of(good)}
    exact = Detector.load(path, encoder=reference, index=EXACT)
    scores = [exact(frame).score for frame in job.frames]
    left_out: dict[Way, str] = {}
    detectors = try_each(
        {
            way: partial(Detector.load, path, encoder=encoder, index=EXACT)
            for way, encoder in encoders.items()
        },
        left_out,
    )
    runs: dict[Way, Run] = {
        way: partial(_one, detector, itertools.cycle(job.frames)) for way, detector in detectors.items()
    }
    taken = take_turns(runs, job.amount)
    timed_ways = {way: partial(_judged, detectors[way], job, scores) for way in taken.times_ms}
    judged = {str(way): found for way, found in try_each(timed_ways, left_out).items()}
    rows = rows_of(taken, REFERENCE if job.here is None else PLAIN)
    rows = [{**row, **judged[row["way"]]} for row in rows if row["way"] in judged]
    rows += left_out_rows({**left_out, **taken.left_out})
    return [{**bank, **row} for row in rows]


def _one(detector: Detector, frames: Iterator[Any]) -> float:
    frame = next(frames)
    return timed(lambda: detector(frame))


def _judged(detector: Detector, job: Job, exact: list[float]) -> dict[str, Any]:
    """How far its scores are from the reference's, and what of a frame is the resize on the host."""
    results = [detector(frame) for frame in job.frames]
    errors = [abs(result.score - right) / right for result, right in zip(results, exact, strict=True)]
    return {
        "error": max(errors),
        "resize_ms": statistics.median(result.timings_ms["preprocess"] for result in results),
        "remarks": list(detector.encoder.remarks),
    }


def _on_tensorrt(job: Job, precision: Precision, *, fused: bool) -> Encoder:
    model = job.bundle.read_frame_graph() if fused else job.bundle.read_model()
    session = ProviderSession(model, TENSORRT, tensorrt_options(job.scratch, precision))
    return Encoder(job.bundle, session, job.manifest.frame if fused else None)


def _patches(job: Job) -> int:
    rows, columns = job.manifest.grid
    return rows * columns
