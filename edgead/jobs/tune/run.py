"""One whole tuning: load, look, time, choose, store."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
from edgead_runtime import Detector, Picture
from edgead_runtime.budget import check_budget
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.files import sha256_file
from edgead_runtime.images import Frame
from edgead_runtime.leading import Companion, store_tuning
from edgead_runtime.manifest import CascadeRecord, Measured, TierRecord

from edgead._version import __version__
from edgead.jobs.bench.machine import describe_machine
from edgead.jobs.bench.record import check_frames
from edgead.jobs.bench.remarks import remarks
from edgead.jobs.bench.statistics import spread
from edgead.jobs.tune.cascades import Looked, try_cascade
from edgead.jobs.tune.choose import Point, choose, ladder, pareto_front
from edgead.jobs.tune.fidelity import Scene, compare, draw_scenes, look
from edgead.jobs.tune.record import CascadeRow, Row, Tune
from edgead.jobs.tune.settings import Setting, engine_names, load_settings
from edgead.jobs.tune.timing import BLOCK, times_in_turns
from edgead.jobs.tune.words import what_would_help

FRAMES = 100
_TIMED_FROM = 32
"""Frames that are taken round and round."""


@dataclass(frozen=True)
class TunePlan:
    """What is tuned, and from what."""

    detector: Path
    out: Path
    """May be the detector's own file."""
    budget_ms: float
    encoders: tuple[Path, ...] = ()
    """Bundles of smaller encoders; the detector's own may be among them, where it is not found by itself."""
    engines: tuple[str, ...] = ()
    """Empty: all that are installed."""
    threads: int | None = None
    frames: int = FRAMES
    calibration_good: tuple[Picture, ...] = ()
    """The held-out pictures of its enrolment."""


def run_tune(plan: TunePlan, progress: Progress = ignore_progress) -> tuple[Tune, Path]:
    """Measure every setting in reach, choose, and store what was found in the detector's file.

    Args:
        plan: What and how.
        progress: Told of the stages of enrolling, and of ``warm-up``, ``look`` and ``measure``.

    Returns:
        What was found, and where it is stored: beside the detector, where that was to be replaced and is no
        longer the file that was tuned.

    Raises:
        EdgeadError: The plan or its input is not usable. The detector's file is as it was.
    """
    check_budget(plan.budget_ms)
    check_frames(plan.frames, 0)
    engines = engine_names(plan.engines)
    before = _hash_of(plan.detector)
    manifest = read_bundle(plan.detector).manifest
    machine = describe_machine()
    with contextlib.ExitStack() as opened:
        settings, notes = load_settings(
            plan.detector,
            manifest.encoder.fingerprint,
            plan.encoders,
            engines,
            plan.threads,
            plan.calibration_good,
            opened,
            progress,
        )
        scenes = draw_scenes(settings[0].detector)
        frames = [scene.frame for scene in scenes[:: max(1, len(scenes) // _TIMED_FROM)]]
        kept = _fastest_engines(settings, frames, progress)
        looked = _look(kept, scenes, plan.frames, frames, progress)
        rows = _rows(kept, looked, plan.budget_ms)
        points = [Point(row.times.p99_ms, row.fidelity.map_rank) for row in rows]
        chosen, holds = choose(points, plan.budget_ms)
        stored = ladder(points, chosen)
        cascade = _cascade(kept, looked, scenes)
        _attach_tuning(plan, kept, rows, stored, chosen, cascade)
        out = plan.out
        if out.resolve() == plan.detector.resolve() and _hash_of(plan.detector) != before:
            out = _beside(plan.detector)
            notes.append(
                f"{plan.detector} was changed while it was tuned and is left as it is now. What was tuned is "
                f"{out.name} beside it: it does not know what was learned meanwhile."
            )
        kept[0].detector.save(out, self_contained=manifest.encoder.embedded)
        others = any(not setting.is_own for setting in settings)
    if others and manifest.calibration.method == "held-out" and not plan.calibration_good:
        notes.append(_IN_PROPORTION)
    found = Tune(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgead=__version__,
        detector=plan.detector.name,
        budget_ms=plan.budget_ms,
        machine=machine,
        frame_wh=(frames[0].shape[1], frames[0].shape[0]),
        timed_frames=plan.frames,
        good_pictures=sum(not scene.is_defective for scene in scenes),
        drawn_defects=sum(scene.is_defective for scene in scenes),
        rows=rows,
        chosen=rows[chosen].name,
        holds=holds,
        cascade=cascade[0] if cascade else None,
        remarks=[*notes, *remarks(machine, rows[0].frames_ms, None)],
    )
    return (found if holds else _with_help(found, plan)), out


def _hash_of(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


def _beside(path: Path) -> Path:
    """A name that is free."""
    found = path.with_suffix(f".tuned{path.suffix}")
    number = 1
    while found.exists():
        number += 1
        found = path.with_suffix(f".tuned-{number}{path.suffix}")
    return found


_IN_PROPORTION = (
    "The detector's threshold comes from held-out pictures, which its file does not keep: those of the other "
    "encoders were set in proportion and claim no false-alarm rate. Give the pictures again with --calibrate."
)


def _with_help(found: Tune, plan: TunePlan) -> Tune:
    help_lines = what_would_help(found, plan.encoders)
    return msgspec.structs.replace(found, remarks=[*found.remarks, *help_lines])


def _fastest_engines(
    settings: Sequence[Setting], frames: Sequence[Frame], progress: Progress
) -> list[Setting]:
    """Of the engines that compute the same (one encoder, one precision), the fastest; the full one first."""
    detectors = [setting.detector for setting in settings]
    times = times_in_turns(detectors, frames, BLOCK, "warm-up", progress)
    groups: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for index, (setting, taken) in enumerate(zip(settings, times, strict=True)):
        key = (setting.detector.encoder.fingerprint, setting.precision)
        groups.setdefault(key, []).append((spread(taken).p50_ms, index))
    return [settings[min(group)[1]] for group in groups.values()]


def _look(
    kept: Sequence[Setting], scenes: Sequence[Scene], count: int, frames: Sequence[Frame], progress: Progress
) -> list[Looked]:
    results = [
        look(setting.detector, scenes, f"look {number + 1}/{len(kept)}", progress)
        for number, setting in enumerate(kept)
    ]
    times = times_in_turns([setting.detector for setting in kept], frames, count, "measure", progress)
    return [
        Looked(setting.name, seen, taken) for setting, seen, taken in zip(kept, results, times, strict=True)
    ]


def _rows(kept: Sequence[Setting], looked: Sequence[Looked], budget_ms: float) -> list[Row]:
    fidelities = [compare(looked[0].results, each.results) for each in looked]
    times = [spread(each.times_ms) for each in looked]
    points = [Point(time.p99_ms, fidelity.map_rank) for time, fidelity in zip(times, fidelities, strict=True)]
    front = pareto_front(points)
    stored = ladder(points, choose(points, budget_ms)[0])
    return [
        Row(
            name=setting.name,
            engine=setting.engine,
            precision=setting.precision,
            input_wh=setting.input_wh,
            encoder=setting.detector.encoder.fingerprint,
            times=time,
            fidelity=fidelity,
            holds=time.p99_ms <= budget_ms,
            on_front=index in front,
            stored=index in stored,
            frames_ms=[round(ms, 3) for ms in each.times_ms],
        )
        for index, (setting, each, time, fidelity) in enumerate(
            zip(kept, looked, times, fidelities, strict=True)
        )
    ]


def _cascade(
    kept: Sequence[Setting], looked: Sequence[Looked], scenes: Sequence[Scene]
) -> tuple[CascadeRow, int] | None:
    """A cascade with the fastest setting of another encoder, and which that is."""
    others = [index for index, setting in enumerate(kept) if not setting.is_own]
    if not others:
        return None
    small = min(others, key=lambda index: spread(looked[index].times_ms).p50_ms)
    row = try_cascade(looked[0], looked[small], scenes)
    return None if row is None else (row, small)


def _attach_tuning(
    plan: TunePlan,
    kept: Sequence[Setting],
    rows: Sequence[Row],
    stored: Sequence[int],
    chosen: int,
    cascade: tuple[CascadeRow, int] | None,
) -> None:
    """Give the detector what it is to be saved with."""
    companions: dict[str, Companion] = {}
    if cascade is not None and not cascade[0].stored:
        cascade = None
    for index in (*stored, *([cascade[1]] if cascade else [])):
        companion = kept[index].companion
        if companion is not None:
            companions.setdefault(companion.fingerprint, companion)
    places = {fingerprint: place for place, fingerprint in enumerate(companions)}

    def record(index: int) -> TierRecord:
        setting, row = kept[index], rows[index]
        options: dict[str, Any] = {"engine": setting.engine, "precision": setting.precision}
        if plan.threads is not None:
            options["threads"] = plan.threads
        return TierRecord(
            name=setting.name,
            options=options,
            bank=None if setting.companion is None else places[setting.companion.fingerprint],
            measured=Measured(
                p50_ms=row.times.p50_ms,
                p95_ms=row.times.p95_ms,
                p99_ms=row.times.p99_ms,
                map_rank=row.fidelity.map_rank,
                score_rank=row.fidelity.score_rank,
                same_verdict=row.fidelity.same_verdict,
            ),
        )

    full: Detector = kept[0].detector
    store_tuning(
        full,
        list(companions.values()),
        budget_ms=plan.budget_ms,
        tiers=[record(index) for index in stored],
        chosen=list(stored).index(chosen),
        cascade=None
        if cascade is None
        else _cascade_record(cascade[0], record(cascade[1]), full, kept[cascade[1]].detector),
    )


def _cascade_record(row: CascadeRow, first: TierRecord, full: Detector, small: Detector) -> CascadeRecord:
    return CascadeRecord(
        first=first,
        low=row.low,
        high=row.high,
        full_threshold=full.threshold,
        small_threshold=small.threshold,
        pictures=row.good_pictures,
        second_looks=row.second_looks_good,
        tried=row.tried,
        missed=row.missed,
    )
