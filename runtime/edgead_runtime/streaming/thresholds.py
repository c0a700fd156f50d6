"""Moving the thresholds of a running loop, and putting them back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgead_runtime.detector import Detector
from edgead_runtime.errors import ConfigError
from edgead_runtime.streaming.cameras import Camera

log = logging.getLogger("edgead.stream")


@dataclass(frozen=True)
class ThresholdState:
    """Where a camera's threshold is."""

    current: float
    at_start: float
    """What a reset goes back to: the calibrated one, or the one in the configuration."""
    calibrated: bool
    """Whether the one at the start comes from good pictures; otherwise it was set by hand."""


class Thresholds(Protocol):
    """Moves thresholds; any thread may call."""

    def state(self, camera: str) -> ThresholdState | None:
        """Where it is, or ``None`` where this camera's cannot be moved."""
        ...

    def set(self, camera: str, threshold: float | None, who: str) -> ThresholdState:
        """Move it, from the next frame on; ``None``: back to what it was at the start.

        Raises:
            EdgeadError: It is no threshold, or this camera's cannot be moved.
        """
        ...


class DetectorThresholds:
    """Moves the image thresholds of the cameras' detectors. Each change is a line in the log.

    Nothing is written to the detector's file: who wants to keep a threshold puts it into the configuration.

    Args:
        cameras: Those of the stream; two that share a detector share its threshold.
    """

    def __init__(self, cameras: Sequence[Camera]) -> None:
        self._detectors = {
            camera.name: camera.detector for camera in cameras if isinstance(camera.detector, Detector)
        }
        self._at_start = {name: detector.calibration for name, detector in self._detectors.items()}
        self._lock = threading.Lock()

    def state(self, camera: str) -> ThresholdState | None:
        """See :class:`Thresholds`."""
        detector = self._detectors.get(camera)
        if detector is None:
            return None
        start = self._at_start[camera]
        return ThresholdState(detector.threshold, start.threshold, start.method != "manual")

    def set(self, camera: str, threshold: float | None, who: str) -> ThresholdState:
        """See :class:`Thresholds`."""
        detector = self._detectors.get(camera)
        if detector is None:
            raise ConfigError(f"the threshold of {camera} cannot be moved", "Choose another camera.")
        with self._lock:
            before = detector.threshold
            if threshold is None:
                detector.restore_calibration(self._at_start[camera])
            else:
                detector.set_threshold(threshold)
            log.info(
                "%s: threshold %.4f -> %.4f, %s by %s",
                camera,
                before,
                detector.threshold,
                "reset" if threshold is None else "set",
                who,
            )
            start = self._at_start[camera]
        return ThresholdState(detector.threshold, start.threshold, start.method != "manual")
