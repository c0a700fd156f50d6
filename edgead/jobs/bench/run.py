"""One whole benchmark of a detector."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgead_runtime import Detector, Picture, find_pictures, read_picture
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import PictureError
from edgead_runtime.files import sha256_file
from edgead_runtime.images import Frame

from edgead._version import __version__
from edgead.jobs.bench.machine import describe_machine, memory_mb, temperatures_c
from edgead.jobs.bench.measuring import Columns, caller_counts, inspect_timed, latencies, throughput
from edgead.jobs.bench.record import (
    TOTAL,
    Bench,
    Comparison,
    Measurement,
    Start,
    Subject,
    Throughput,
    check_frames,
)
from edgead.jobs.bench.remarks import remarks
from edgead.jobs.bench.settings import Setting, parse_compared
from edgead.jobs.bench.start import measure_start
from edgead.jobs.bench.statistics import paired_ratio, spread
from edgead.jobs.bench.stolen import StolenTime
from edgead.wording import count_of

MAX_PICTURES = 32
"""Held in memory decoded, so that reading files is in no figure."""
_THROUGHPUT_SHARE = 4
_MIN_THROUGHPUT_FRAMES = 8


@dataclass(frozen=True)
class BenchPlan:
    """What is to be measured and how long."""

    setting: Setting
    pictures: tuple[Path, ...] = ()
    """Files or folders; empty for the detector's own good pictures."""
    frames: int = 200
    warm_up: int = 20
    compare: tuple[str, ...] = ()
    """Options of other settings, see :func:`edgead.jobs.bench.settings.parse_compared`."""


def run_bench(plan: BenchPlan, progress: Progress = ignore_progress) -> Bench:
    """Measure latency, then throughput, then a fresh start.

    Args:
        plan: What and how long.
        progress: Told of the stages ``warm-up``, ``measure`` and ``throughput``.

    Raises:
        EdgeadError: The plan or its input is not usable.
    """
    check_frames(plan.frames, plan.warm_up)
    settings = [plan.setting, *(parse_compared(text, plan.setting) for text in plan.compare)]
    given = _read(plan.pictures)
    machine = describe_machine()
    with contextlib.ExitStack() as stack:
        detectors = [stack.enter_context(setting.load()) for setting in settings]
        pictures = given or [reference.picture for reference in detectors[0].references[:MAX_PICTURES]]
        frames = [picture.frame for picture in pictures]
        for detector in detectors:
            inspect_timed(detector, frames[0])  # what cannot be inspected is said before minutes of measuring
        latencies(detectors, frames, plan.warm_up, "warm-up", progress)
        before, stolen = memory_mb(), StolenTime()
        columns = latencies(detectors, frames, plan.frames, "measure", progress)
        after, stolen_share = memory_mb(), stolen.share()
        warm = temperatures_c()
        rates = _throughputs(detectors[0], frames, plan.frames, machine.usable_cores, progress)
        names = [plan.setting.detector.name, *plan.compare]
        measured = [_measurement(*each) for each in zip(names, settings, detectors, columns, strict=True)]
    growth = None if before is None or after is None else after - before
    first = measured[0]
    return Bench(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgead=__version__,
        machine=machine,
        frame_wh=(frames[0].shape[1], frames[0].shape[0]),
        pictures=len(frames),
        warm_up=plan.warm_up,
        measurement=first,
        throughput=rates,
        start=_start(plan.setting, pictures[0]),
        memory_growth_mb=growth,
        stolen_share=stolen_share,
        temperatures_after_c=warm,
        remarks=[*_unread(plan.pictures), *remarks(machine, columns[0][TOTAL], growth, stolen_share)],
        comparisons=[
            Comparison(measurement=other, ratio=paired_ratio(other.frames_ms[TOTAL], first.frames_ms[TOTAL]))
            for other in measured[1:]
        ],
    )


def _read(paths: Sequence[Path]) -> list[Picture]:
    if not paths:
        return []
    found = find_pictures(list(paths))
    if not found:
        raise PictureError(
            f"there are no pictures in {', '.join(map(str, paths))}",
            "Give PNG, JPEG, TIFF, BMP or WebP files or folders, or none for the detector's own.",
        )
    return [read_picture(path) for path in found[:MAX_PICTURES]]


def _unread(paths: Sequence[Path]) -> list[str]:
    more = len(find_pictures(list(paths))) - MAX_PICTURES if paths else 0
    if more <= 0:
        return []
    return [f"Only the first {MAX_PICTURES} pictures were used; {count_of(more, 'other')} were not."]


def _throughputs(
    detector: Detector, frames: Sequence[Frame], count: int, usable_cores: float, progress: Progress
) -> list[Throughput]:
    """Frames a second of a few numbers of callers."""
    each = max(_MIN_THROUGHPUT_FRAMES, count // _THROUGHPUT_SHARE)
    callers = caller_counts(usable_cores)
    rates = []
    for done, number in enumerate(callers):
        rates.append(throughput(detector, frames, number, each))
        progress("throughput", done + 1, len(callers))
    return rates


def _start(setting: Setting, picture: Picture) -> Start:
    with tempfile.TemporaryDirectory(prefix="edgead-bench-") as folder:
        path = Path(folder) / f"picture{picture.suffix}"
        path.write_bytes(picture.encode())
        return measure_start(setting, path)


def _measurement(name: str, setting: Setting, detector: Detector, columns: Columns) -> Measurement:
    manifest = detector.encoder.manifest
    provenance = detector.provenance
    return Measurement(
        subject=Subject(
            name=name,
            detector_sha256=sha256_file(setting.detector),
            encoder=provenance.encoder,
            backbone=provenance.backbone,
            weights=provenance.weights,
            recipe=provenance.recipe,
            engine=provenance.engine,
            precision=setting.precision,
            threads=setting.threads,
            input_wh=(manifest.input.width, manifest.input.height),
            references=len(detector.references),
            patches=sum(len(reference.tokens[-1]) for reference in detector.references if reference.tokens),
            index=detector.index.index,
        ),
        stages={stage: spread(times) for stage, times in columns.items()},
        frames_ms=columns,
    )
