"""Drift as a listener of the loop: alerts become messages, and numbers."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from types import TracebackType

from edgead_runtime.detector import Detector
from edgead_runtime.streaming.clock import stamp
from edgead_runtime.streaming.drift.baseline import Baseline
from edgead_runtime.streaming.drift.settings import DriftSettings
from edgead_runtime.streaming.drift.watch import (
    OF_FULL_SETTING,
    POSITION,
    QUANTILES,
    Drifted,
    DriftWatch,
    Standing,
)
from edgead_runtime.streaming.drift.words import NAMES
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.results import Listener, StreamResult
from edgead_runtime.streaming.sinks.prometheus_text import family, sample
from edgead_runtime.tiered import TieredDetector

log = logging.getLogger("edgead.drift")

_GAUGES = {
    "edgead_drift_strain": "How far a measure is from enrolment, in units of its limit: above 1 is drift.",
    "edgead_drift_alert": "1 while an alert is open.",
    "edgead_drift_enrolled": "Median of the good pictures of enrolment.",
}


class Drift:
    """Says when cameras no longer see what they saw at enrolment. A listener, and a context manager.

    Nothing is adapted to it: an alert is for a person, who cleans a lens, mends a light, or enrols again.

    Args:
        detectors: By the name of the camera. Their good pictures are measured here, which takes about as long
            as decoding them.
        tell: Who hears of alerts, e.g. a :class:`~edgead_runtime.streaming.Delivery`.
        settings: Limits, by camera; for those not named the defaults.

    Raises:
        PictureError: A good picture in a detector's file cannot be decoded.

    Example:
        >>> with Drift({"left": detector}, tell=[delivery]) as drift:       # doctest: +SKIP
        ...     for result in stream(detector, source, name="left", listeners=[delivery, drift]): ...
    """

    def __init__(
        self,
        detectors: Mapping[str, Detector],
        tell: Sequence[Listener] = (),
        settings: Mapping[str, DriftSettings] | None = None,
    ) -> None:
        self._tell = tuple(tell)
        self.baselines = {name: Baseline.of(detector) for name, detector in detectors.items()}
        """What each camera is compared with."""
        self._watches = {
            name: DriftWatch(
                self.baselines[name],
                (settings or {}).get(name, DriftSettings()),
                functools.partial(_threshold_of, detector),
            )
            for name, detector in detectors.items()
        }
        self._detectors = dict(detectors)
        self._open: dict[tuple[str, str], str] = {}
        self._blind: set[str] = set()
        """Cameras of which it was said that no frame is answered by the full setting."""

    def __enter__(self) -> Drift:
        for name in self._watches:
            for line in self.described(name):
                log.info("%s: drift: %s", name, line)
        return self

    def described(self, camera: str) -> list[str]:
        """What is watched of a camera and what is not, in lines for a person."""
        watch = self._watches[camera]
        lines = [f"watching {', '.join(watch.measures) or 'nothing'}"]
        needing = [NAMES[name] for name in watch.measures if name in OF_FULL_SETTING]
        detector = self._detectors[camera]
        if needing and isinstance(detector, TieredDetector) and len(detector.settings) > 1:
            now = "" if detector.setting == 0 else ", and it begins with a faster one"
            lines.append(f"{', '.join(needing)} only in frames that the full setting answers{now}")
        unwatched = self.baselines[camera].unwatched
        return [*lines, *(f"not {NAMES[measure]}: {why}" for measure, why in unwatched.items())]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        at = stamp(datetime.now(timezone.utc))
        for camera, measure in list(self._open):
            self._say(camera, measure, "closed", at, {"drift": measure, "text": "", "reason": "stopped"})

    # -- as a listener ---------------------------------------------------------------------------------

    def on_message(self, message: Message) -> None:
        """Nothing to do: what others say is not about drift."""

    def on_result(self, result: StreamResult) -> None:
        """Take in a frame; below a millisecond at 448 x 448 (``python -m benchmarks.drift``)."""
        watch = self._watches.get(result.camera)
        if watch is None or result.result is None:
            return
        for drifted in watch.observe(result.frame, result.result):
            self._tell_of(result.camera, drifted, stamp(result.frame.captured_at))
        if watch.blind_to and result.camera not in self._blind:
            self._blind.add(result.camera)  # once: a budget may change its mind every few seconds
            log.warning(
                "%s: drift: none of the last %d frames was answered by the full setting: %s are not watched "
                "until one is",
                result.camera,
                watch.unanswered,
                ", ".join(NAMES[name] for name in watch.blind_to),
            )

    def _tell_of(self, camera: str, drifted: Drifted, at: str) -> None:
        body: dict[str, object] = {
            "drift": drifted.measure,
            "text": drifted.text,
            "since": stamp(drifted.since),
            "now": round(drifted.now, 6),
            "enrolled": round(drifted.enrolled, 6),
        }
        if drifted.turn == "opened":
            log.warning("%s: drift: %s", camera, drifted.text)
            key = f"{camera}-drift-{drifted.measure.replace('_', '-')}-{secrets.token_hex(4)}"
            self._open[camera, drifted.measure] = key
        else:
            log.info("%s: %s is as at enrolment again", camera, NAMES[drifted.measure])
            body["reason"] = "as enrolled"
        self._say(camera, drifted.measure, drifted.turn, at, body)

    def _say(self, camera: str, measure: str, state: str, at: str, body: Mapping[str, object]) -> None:
        key = self._open[camera, measure] if state == "opened" else self._open.pop((camera, measure))
        message = Message("drift", camera, key, state, at, body)
        for listener in self._tell:
            try:
                listener.on_message(message)
            except Exception:  # one that fails must not keep the alert from the others
                log.exception("a listener failed")

    # -- as numbers ------------------------------------------------------------------------------------

    def metric_lines(self) -> Iterator[str]:
        """For Prometheus; from any thread."""
        found = [
            (camera, measure, standing)
            for camera, watch in self._watches.items()
            for measure, standing in watch.standing.items()
        ]
        for name, what in _GAUGES.items():
            yield from family(name, "gauge", what)
            for camera, measure, standing in found:
                value = _gauge(name, standing)
                if value is not None:
                    yield sample(name, {"camera": camera, "measure": measure}, value)
        yield from family("edgead_drift_watched", "gauge", "0 while the full setting answers no frames.")
        for camera, watch in self._watches.items():
            for measure in watch.measures:
                labels = {"camera": camera, "measure": measure}
                yield sample("edgead_drift_watched", labels, int(measure not in watch.blind_to))
        yield from family("edgead_drift_value", "gauge", "Quantiles of the last frames.")
        for camera, measure, standing in found:
            if measure != POSITION:
                for share, value in zip(QUANTILES, standing.quantiles, strict=False):
                    labels = {"camera": camera, "measure": measure, "quantile": f"{share:g}"}
                    yield sample("edgead_drift_value", labels, value)
        yield from family("edgead_drift_shift_ratio", "gauge", "Shift of the picture since enrolment.")
        for camera, measure, standing in found:
            if measure == POSITION:
                for axis, value in zip(("right", "down"), standing.quantiles, strict=False):
                    yield sample("edgead_drift_shift_ratio", {"camera": camera, "axis": axis}, value)


def _gauge(name: str, standing: Standing) -> float | None:
    if name == "edgead_drift_strain":
        return standing.strain
    return float(standing.is_open) if name == "edgead_drift_alert" else standing.enrolled


def _threshold_of(detector: Detector) -> float:
    return detector.threshold
