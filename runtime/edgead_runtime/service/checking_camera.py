"""Whether a configured camera would run here: its detector loads, its source opens, a frame is inspected."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgead_runtime.detector import Detector
from edgead_runtime.encoder import Encoder
from edgead_runtime.errors import EdgeadError, SourceError
from edgead_runtime.images import Frame
from edgead_runtime.service.build import (
    build_camera,
    build_drift,
    build_source,
    build_trigger,
    set_thresholds,
)
from edgead_runtime.service.tables import CameraTable, LoopConfig
from edgead_runtime.streaming.cameras import Camera
from edgead_runtime.streaming.shaping import cropped
from edgead_runtime.streaming.shown import without_secrets
from edgead_runtime.streaming.sources import EndOfSourceError, Source

_LONGEST_WAIT_S = 15.0
_ENDS_WITHIN_S = 1.0


class CameraCheck:
    """Tries one camera after the other.

    Args:
        config: Checked.
        base: Paths in it are relative to this folder.
        stack: Closes what is opened.
        say: Given what is right.
    """

    def __init__(self, config: LoopConfig, base: Path, stack: ExitStack, say: Callable[[str], None]) -> None:
        self._config, self._base, self._stack, self._say = config, base, stack, say
        self._encoders: dict[str, Encoder] = {}

    def __call__(self, table: CameraTable) -> tuple[Camera | None, list[EdgeadError]]:
        """Try a camera; gives it where it could be made, and what is wrong."""
        problems: list[EdgeadError] = []
        alone = msgspec.structs.replace(self._config, camera=(table,))
        camera: Camera | None = None
        source: Source | None = None
        try:
            camera = build_camera(table, self._config.engine, self._base, self._encoders, self._stack)
            source = camera.source
            set_thresholds(alone, [camera])
            self._say(f"{table.name}: {_described(table, camera)}")
            drift = build_drift(alone, [camera], ())
            if drift is not None:
                self._say(f"{table.name}: drift: {'; '.join(drift.described(table.name))}")
        except EdgeadError as error:
            problems.append(error)
        if source is None:
            try:
                source = build_source(table, self._base)
            except EdgeadError as error:
                problems += [error] if str(error) not in map(str, problems) else []
        if source is not None:
            problems += self._problems_of_source(table, source, camera)
        if table.trigger is not None:
            problems += self._problems_of_trigger(table)
        return camera, problems

    def _problems_of_source(
        self, table: CameraTable, source: Source, camera: Camera | None
    ) -> list[EdgeadError]:
        try:
            frame = first_frame(source, min(table.stall_s, _LONGEST_WAIT_S))
            if frame is None:
                self._say(f"{table.name}: {source.label} opens; it has given no picture so far")
                return []
            height, width = frame.shape[:2]
            self._say(f"{table.name}: {source.label} opens and gives pictures of {width} x {height}")
            if camera is not None:
                self._say(f"{table.name}: {_inspected(camera, cropped(frame, table.crop))}")
        except EdgeadError as error:
            return [error]
        return []

    def _problems_of_trigger(self, table: CameraTable) -> list[EdgeadError]:
        try:
            trigger = build_trigger(table)
            if trigger is not None:
                trigger.open()
                trigger.close()
                self._say(f"{table.name}: the broker of its trigger answers")
        except EdgeadError as error:
            return [error]
        return []


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


def first_frame(source: Source, wait_s: float) -> Frame | None:
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
    thread.join(_ENDS_WITHIN_S)
    if isinstance(found.error, EdgeadError):
        raise found.error
    if isinstance(found.error, EndOfSourceError):
        raise SourceError(f"{source.label} has no picture", "Give one that has.")
    if found.error is not None:
        reason = without_secrets(str(found.error))
        raise SourceError(f"{source.label} raised {type(found.error).__name__}: {reason}", "Mend it.")
    if not found.opened:
        raise SourceError(f"{source.label} has not opened within {wait_s:.0f} s", "See whether it is there.")
    return found.frame
