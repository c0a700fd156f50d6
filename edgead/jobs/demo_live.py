"""The demo's pictures played as a camera, with the live view open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.images import find_pictures
from edgead_runtime.streaming import Camera, CameraStats, LineLearning, Stream, stop_on_signals
from edgead_runtime.streaming.sources import PlayedPictures
from edgead_runtime.streaming.thresholds import DetectorThresholds
from edgead_runtime.streaming.view import LiveView
from edgead_runtime.streaming.view.live import DEFAULT_PORT, require_packages

from edgead.demo_data import DemoPictures
from edgead.jobs.demo import DemoOptions, Say, enrolled_cells

CAMERA = "cells"
_CELLS_PER_SECOND = 1.0


@dataclass(frozen=True)
class LiveOptions:
    """How the cells are shown."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    seconds: float | None = None
    """End after so long; ``None``: when somebody ends it."""


def run_live_demo(
    options: DemoOptions,
    live: LiveOptions,
    *,
    step: Say,
    warn: Say,
    ready: Callable[[str], None],
    progress: Progress = ignore_progress,
) -> CameraStats:
    """Enrol the good cells, then inspect the others one a second until it ends.

    Args:
        options: Where and how.
        live: Where the page is, and how long.
        step: Told what begins.
        warn: Told what a person must know.
        ready: Told the address of the page once there is something to see.
        progress: Told how far enrolment is.

    Returns:
        What happened.

    Raises:
        EdgeadError: Weights or pictures cannot be reached, the folder is not a demo's, the port is in use, or
            what the page needs is not installed.
    """
    require_packages()  # before minutes of export
    with enrolled_cells(options, step=step, warn=warn, progress=progress) as cells:
        source = PlayedPictures(_mixed(cells.pictures), _CELLS_PER_SECOND)
        camera = Camera(CAMERA, cells.detector, source)
        thresholds = DetectorThresholds([camera])
        with (
            stop_on_signals() as stop,
            LineLearning({CAMERA: cells.detector}, options.folder / "lessons") as teacher,
            LiveView(live.host, live.port, teacher=teacher, thresholds=thresholds) as view,
        ):
            stream = Stream([camera], listeners=[view], stop=stop)
            view.watch(stream)
            ready(view.url)
            timer = None if live.seconds is None else threading.Timer(live.seconds, stop.set)
            if timer is not None:
                timer.daemon = True
                timer.start()
            try:
                for _ in stream:
                    pass  # the page shows it
            finally:
                if timer is not None:
                    timer.cancel()
            return stream.stats()[CAMERA]


def _mixed(pictures: DemoPictures) -> Sequence[Path]:
    """Good and defective cells evenly mixed, each in the order of its numbers."""
    places = [
        ((index + 0.5) / len(paths), path)
        for paths in (find_pictures([pictures.good]), find_pictures([pictures.defective]))
        for index, path in enumerate(paths)
    ]
    return [path for _, path in sorted(places)]
