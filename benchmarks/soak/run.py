"""The run itself: the loop with everything around it, and what came of it as plain data."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgead_runtime import Detector
from edgead_runtime.detector_identity import detector_fingerprint
from edgead_runtime.images import Frame
from edgead_runtime.manifest import Precision
from edgead_runtime.streaming import Camera, Delivery, Drift, LineLearning, Rules, Stream
from edgead_runtime.streaming.sinks import ClipRecorder, JsonLines, Metrics, PictureFolder, Sink
from edgead_runtime.streaming.sources import VideoFile
from edgead_runtime.streaming.stored import StoredMessage
from edgead_runtime.streaming.thresholds import DetectorThresholds
from edgead_runtime.streaming.view import LiveView

from benchmarks.common import machine
from benchmarks.soak.sampler import Sampler
from benchmarks.soak.scene import apart, good_frames, scratches_by

CAMERA = "camera"
PICTURES_MB, CLIPS_MB, LESSONS_MB = 20, 50, 50
"""Quotas, small enough to be reached within the hour."""
_ROOT = Path(__file__).parents[2]
_ABOVE_GOOD = 0.25
"""Where the threshold lies between the largest score of good frames that are not enrolled, and a scratch's.

By hand, since what is soaked is the loop: no good frame may become an event within an hour.
"""
_VISITOR_ENDS_S = 90.0


@dataclass(frozen=True)
class Plan:
    """What is run."""

    encoder: Path
    minutes: float
    side: int = 640
    """Of the camera's picture, pixels."""
    fps: int = 25
    engine: str = "auto"
    precision: Precision = "fp32"
    threads: int | None = None
    recipe: str = "anomalydino-informed"
    lesson_every_s: float = 60.0
    """0: nobody teaches."""
    view: bool = True
    """Somebody has the page open."""


class AwayForAThird(Sink):
    """Takes messages, but not in the middle third of the run."""

    name = "away for a third"

    def __init__(self, seconds: float) -> None:
        began = time.monotonic()
        self._from, self._to = began + seconds / 3, began + seconds * 2 / 3
        self.got: list[tuple[str, str, str]] = []
        """Kind, id and state."""

    def send(self, message: StoredMessage) -> None:
        """Take it or not."""
        if self._from < time.monotonic() < self._to:
            raise ConnectionError("away")
        self.got.append((message.kind, message.key, message.state))


class Guest:
    """The process that looks at the page, see :mod:`benchmarks.soak.visitor`."""

    def __init__(self, address: str, lesson_every_s: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.visitor", address, "--lesson-every", str(lesson_every_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    def close(self) -> None:
        """End it, also where the run failed."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def leave(self) -> dict[str, Any]:
        """Ask it to end; what it saw."""
        try:
            said, _ = self._process.communicate(timeout=_VISITOR_ENDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return {"problems": [f"it did not end within {_VISITOR_ENDS_S:g} s"]}
        lines = said.strip().splitlines()
        if not lines:
            return {"problems": [f"it ended with exit code {self._process.returncode} and said nothing"]}
        seen: dict[str, Any] = json.loads(lines[-1])
        return seen


def soak(plan: Plan, work: Path) -> dict[str, Any]:
    """Run the loop for so long.

    Args:
        plan: What is run.
        work: A folder for all that it writes; emptied first.

    Returns:
        Plain data, see ``judging``.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    video = work / "camera.avi"
    apart("benchmarks.soak.scene", video, plan.side, plan.fps)
    enrolled, others, scratched = good_frames(video, plan.fps)
    for frame in enrolled:
        frame[0, 0] ^= 1  # else a frame that is taught may be one of them, bit by bit, and is refused
    with Detector.enroll(plan.encoder, enrolled, recipe=plan.recipe) as made:
        made.save(work / "part.edgead")
    with Detector.load(
        work / "part.edgead", engine=plan.engine, precision=plan.precision, threads=plan.threads
    ) as detector:
        good_score = max(detector(frame).score for frame in others)
        detector.set_threshold(good_score + _ABOVE_GOOD * (detector(scratched).score - good_score))
        before = _state(detector, others[0], scratched)
        data = _loop(plan, work, detector)
        after = _state(detector, others[0], scratched)
        runs = {
            "engine": detector.encoder.engine_name,
            "frame_graph": detector.encoder.frame_file is not None,
        }
    return {
        "machine": machine(),
        "plan": {**asdict(plan), "encoder": plan.encoder.name},
        "runs": runs,
        **data,
        "detector": {"before": before, "after": after},
    }


def _state(detector: Detector, good: Frame, scratched: Frame) -> dict[str, Any]:
    """What decides its results, and two of them."""
    return {
        "fingerprint": detector_fingerprint(detector),
        "rows": detector.rows,
        "threshold": detector.threshold,
        "good": detector(good).score,
        "scratched": detector(scratched).score,
    }


def _loop(plan: Plan, work: Path, detector: Detector) -> dict[str, Any]:
    seconds = plan.minutes * 60
    outbox, lines = work / "outbox.db", work / "events.jsonl"
    guest: Guest | None = None
    away = AwayForAThird(seconds)
    with ExitStack() as stack:
        sinks: list[Sink] = [
            JsonLines(lines, max_mb=2000),  # one file: it is read as a whole at the end
            PictureFolder(work / "events", max_mb=PICTURES_MB),
            away,
        ]
        delivery = stack.enter_context(Delivery(sinks, outbox=outbox, backoff_s=(0.5, 5.0)))
        clips = stack.enter_context(ClipRecorder(work / "clips", max_mb=CLIPS_MB))
        metrics = stack.enter_context(Metrics(port=0))
        camera = Camera(
            CAMERA,
            detector,
            VideoFile(work / "camera.avi", as_camera=True, repeat=True),
            budget_ms=1000 / plan.fps,
            rules=Rules(hits=3, window=5, close_ratio=0.9, close_after=5),
        )
        teacher = stack.enter_context(
            LineLearning({CAMERA: detector}, work / "lessons", max_mb=LESSONS_MB, tell=delivery.on_message)
        )
        view = stack.enter_context(LiveView(port=0, teacher=teacher, thresholds=DetectorThresholds([camera])))
        drift = stack.enter_context(Drift({CAMERA: detector}, [delivery, view]))
        sampler = Sampler(
            outbox, delivery, lambda: detector.rows, lambda: 0 if guest is None else guest.process
        )
        stream = Stream([camera], listeners=[delivery, clips, metrics, view, drift, sampler])
        metrics.watch(stream, delivery)
        view.watch(stream)
        if plan.view:
            guest = Guest(view.url, plan.lesson_every_s)
            stack.callback(guest.close)
        stack.enter_context(sampler)
        with stream:
            for _ in stream:
                if time.monotonic() - sampler.began > seconds:
                    break
        stats = stream.stats()[CAMERA]
        seen = None if guest is None else guest.leave()
        delivery.flush()
        states = delivery.states
    return {
        "seconds": sampler.lines[-1]["minutes"] * 60 if sampler.lines else 0.0,
        "scratches": scratches_by(stats.captured, plan.fps),
        "frames": {
            name: getattr(stats, name)
            for name in (
                "captured",
                "inspected",
                "dropped",
                "skipped",
                "not_inspected",
                "anomalies",
                "late",
                "reconnects",
            )
        },
        "latency_ms": _quantiles(sampler.latencies_ms),
        "longest_gap_s": sampler.longest_gap_s,
        "listener_failures": stream.listener_failures,
        "delivery": {
            "sinks": {name: asdict(state) for name, state in states.items()},
            "dropped_pictures": delivery.dropped_pictures,
            "dropped_messages": delivery.dropped_messages,
        },
        "events": sampler.events,
        "written": [
            (line["kind"], line["id"], line["state"])
            for line in map(json.loads, lines.read_text(encoding="utf-8").splitlines())
        ],
        "reached_the_sink_that_was_away": away.got,
        "left_in_the_outbox": _left(outbox),
        "clips": {"written": clips.written, "left_out": clips.left_out, "removed": clips.quota.removed},
        "disk_mb": {name: _folder_mb(work / name) for name in ("events", "clips", "lessons")},
        "visitor": seen,
        "view_pictures": view.pictures_made,
        "samples": sampler.lines,
    }


def _quantiles(latencies_ms: Sequence[float]) -> dict[str, float]:
    if not latencies_ms:
        return {}
    found = np.percentile(latencies_ms, [50, 99, 100])
    return dict(zip(("p50", "p99", "max"), map(float, found), strict=True))


def _folder_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _left(outbox: Path) -> int:
    """Messages that are still in the file."""
    with closing(sqlite3.connect(outbox)) as database:
        (count,) = database.execute("SELECT count(*) FROM messages").fetchone()
    return int(count)
