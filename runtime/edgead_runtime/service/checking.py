"""Whether a configured loop would run here: detectors load, sources open, a frame can be inspected."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgead_runtime.detector import Detector
from edgead_runtime.encoder import Encoder
from edgead_runtime.errors import ConfigError, EdgeadError, SourceError
from edgead_runtime.images import Frame
from edgead_runtime.service.build import build_camera, build_sinks, build_source
from edgead_runtime.service.tables import CameraTable, LoopConfig
from edgead_runtime.streaming.cameras import Camera
from edgead_runtime.streaming.shaping import cropped
from edgead_runtime.streaming.sources import EndOfSourceError, Source

_LONGEST_WAIT_S = 15.0


def check_loop(config: LoopConfig, base: Path, say: Callable[[str], None]) -> None:
    """Say what would run, and try it: each camera's detector, its source, one frame of it.

    Sinks are named and not opened, since that would already tell somebody something.

    Args:
        config: Checked.
        base: Paths in it are relative to this folder.
        say: Given each line.

    Raises:
        ConfigError: There is no camera, or something would not run; all of that was said.
    """
    if not config.camera:
        raise ConfigError("there is no camera", "Add [[camera]].")
    problems = 0
    with ExitStack() as stack:
        encoders: dict[str, Encoder] = {}
        for table in config.camera:
            for problem in _check_camera(table, config, base, encoders, stack, say):
                say(f"{table.name}: PROBLEM: {problem}")
                problems += 1
    for sink in build_sinks(config, base):
        say(f"sink: {sink.name}")
    if config.sink:
        say(f"outbox: {base / config.outbox.path}")
    if config.metrics is not None:
        say(f"numbers and health: http://{config.metrics.host}:{config.metrics.port}/metrics")
    if problems:
        raise ConfigError(
            f"{problems} {'thing' if problems == 1 else 'things'} would keep it from running", "Mend them."
        )


def _check_camera(
    table: CameraTable,
    config: LoopConfig,
    base: Path,
    encoders: dict[str, Encoder],
    stack: ExitStack,
    say: Callable[[str], None],
) -> list[EdgeadError]:
    """What is wrong with a camera; what is right is said."""
    problems: list[EdgeadError] = []
    camera: Camera | None = None
    source: Source | None = None
    try:
        camera = build_camera(table, config.engine, base, encoders, stack)
        source = camera.source
        say(f"{table.name}: {_described(table, camera)}")
    except EdgeadError as error:
        problems.append(error)
        try:
            source = build_source(table, base)
        except EdgeadError as of_source:
            if str(of_source) != str(error):
                problems.append(of_source)
    if source is None:
        return problems
    try:
        frame = _first_frame(source, min(table.stall_s, _LONGEST_WAIT_S))
        if frame is None:
            say(f"{table.name}: {source.label} opens; it has given no picture so far")
            return problems
        height, width = frame.shape[:2]
        say(f"{table.name}: {source.label} opens and gives pictures of {width} x {height}")
        if camera is not None:
            say(f"{table.name}: {_inspected(camera, cropped(frame, table.crop))}")
    except EdgeadError as error:
        problems.append(error)
    return problems


def _described(table: CameraTable, camera: Camera) -> str:
    detector = camera.detector
    if not isinstance(detector, Detector):
        raise TypeError("a configured camera has a Detector")
    text = (
        f"{table.detector}: {detector.recipe.name}, {len(detector.references)} good pictures, threshold "
        f"{detector.threshold:.4f}, on {detector.encoder.engine_name}"
    )
    if table.budget_ms is not None:
        text += f", budget {table.budget_ms:g} ms"
    return text + "".join(f"; {note}" for note in detector.budget_notes)


def _inspected(camera: Camera, frame: Frame) -> str:
    began = time.perf_counter()
    result = camera.detector(frame)
    ms = (time.perf_counter() - began) * 1e3
    verdict = "anomalous" if result.is_anomaly else "good"
    return f"one of them is {verdict} with a score of {result.score:.4f} ({ms:.0f} ms, the first frame)"


@dataclass
class _Opening:
    """What a thread that opens a source found; it may never come back."""

    frame: Frame | None = None
    opened: bool = False
    error: Exception | None = None


def _first_frame(source: Source, wait_s: float) -> Frame | None:
    """Open a source and take a frame.

    Raises:
        EdgeadError: It cannot be opened, ended at once, gave something unusable, or hangs.
    """
    found, over = _Opening(), threading.Event()

    def look() -> None:
        try:
            session = source.open()
            found.opened = True
            try:
                while not over.is_set():
                    grab = session.read()
                    if grab is not None:
                        found.frame = grab.image
                        return
            finally:
                session.close()
        except Exception as error:  # noqa: BLE001  (a driver's own; told below)
            found.error = error

    thread = threading.Thread(target=look, name="check", daemon=True)
    thread.start()
    thread.join(wait_s)
    over.set()
    if isinstance(found.error, EdgeadError):
        raise found.error
    if isinstance(found.error, EndOfSourceError):
        raise SourceError(f"{source.label} has no picture", "Give one that has.")
    if found.error is not None:
        raise SourceError(f"{source.label} raised {type(found.error).__name__}: {found.error}", "Mend it.")
    if not found.opened:
        raise SourceError(f"{source.label} has not opened within {wait_s:.0f} s", "See whether it is there.")
    return found.frame
