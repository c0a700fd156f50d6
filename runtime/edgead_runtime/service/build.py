"""From a configuration to the objects of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgead_runtime.detector import Detector
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import ConfigError, EngineUnavailableError, PrecisionMissingError
from edgead_runtime.persistence import locate_encoder
from edgead_runtime.service import tables
from edgead_runtime.service.config import capture_settings
from edgead_runtime.service.sinks import broker_of
from edgead_runtime.streaming.cameras import Camera
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.drift import Drift, DriftSettings
from edgead_runtime.streaming.drift.settings import setting_names
from edgead_runtime.streaming.mqtt_client import require_paho
from edgead_runtime.streaming.mqtt_trigger import MqttTrigger
from edgead_runtime.streaming.results import Listener
from edgead_runtime.streaming.sources import NetworkCamera, Source, source_from_text
from edgead_runtime.streaming.sources.spec import is_there
from edgead_runtime.streaming.teaching import Teacher
from edgead_runtime.streaming.thresholds import DetectorThresholds
from edgead_runtime.streaming.view import LiveView
from edgead_runtime.streaming.zones import Zone
from edgead_runtime.tiers import check_not_overridden

_RELATIVE_KINDS = ("watch:", "play:")


def build_cameras(
    config: tables.LoopConfig,
    base: Path,
    stack: ExitStack,
    starting: Callable[[str], None] = lambda what: None,
) -> list[Camera]:
    """Load the detectors and make the cameras. Detectors of one encoder share it.

    Their thresholds are those of their files: :func:`set_thresholds` comes after learning was opened.

    Args:
        config: Checked.
        base: Paths are relative to it.
        stack: Closes the detectors and encoders.
        starting: Told what is loaded now; what it raises ends this in between.

    Raises:
        ConfigError: There is no camera.
        EdgeadError: A detector or source cannot be used.
    """
    if not config.camera:
        raise ConfigError(
            "there is no camera", "Give a detector and --source, or [[camera]] in the configuration."
        )
    encoders: dict[str, Encoder] = {}
    cameras = []
    for table in config.camera:
        starting(f"{table.name}: loading {table.detector}")
        cameras.append(build_camera(table, config.engine, base, encoders, stack))
    return cameras


def set_thresholds(config: tables.LoopConfig, cameras: Sequence[Camera]) -> None:
    """Set those that the file gives.

    Once learning is open: what it leaves behind as ``learned.edgead`` has the detector's own, since a
    threshold that is in the configuration holds for this line, and would be taken for calibrated elsewhere.

    Raises:
        EnrollmentError: One is none.
    """
    for table, camera in zip(config.camera, cameras, strict=True):
        if table.threshold is not None and isinstance(camera.detector, Detector):
            camera.detector.set_threshold(table.threshold)


def build_camera(
    table: tables.CameraTable,
    engine: tables.EngineTable,
    base: Path,
    encoders: dict[str, Encoder],
    stack: ExitStack,
) -> Camera:
    """Load one camera's detector and make the camera.

    Args:
        table: Its table.
        engine: What runs the encoder.
        base: Paths are relative to it.
        encoders: Those that are loaded, by fingerprint and options; another one is added.
        stack: Closes what is opened.

    Raises:
        EdgeadError: Its detector or source cannot be used, or ``[engine]`` contradicts its tuned settings.
    """
    options: dict[str, Any] = {
        "engine": engine.name,
        "device": engine.device,
        "threads": engine.threads,
        "precision": engine.precision,
    }
    path = base / table.detector
    stored = read_bundle(path)
    source = build_source(table, base)  # a wrong path is told before a detector is loaded, which takes long
    if table.budget_ms is not None and stored.manifest.tuning is not None:
        check_not_overridden(path, stored.manifest.tuning, options, cascade=False)
        # As it was tuned: a shared encoder is in its engine before the detector could choose one.
        options |= {
            key: value for key, value in stored.manifest.tuning.tiers[0].options.items() if key in options
        }
    if table.encoder is None:
        bundle = locate_encoder(path, stored)
    else:
        bundle = EncoderBundle.open(base / table.encoder)
    key = f"{bundle.manifest.fingerprint()} {options}"
    if key not in encoders:
        encoders[key] = stack.enter_context(_load_encoder(bundle, options, engine))
    # Closed as well: the encoder is shared and stays, but settings for a budget bring their own.
    detector = stack.enter_context(
        Detector.load(
            path,
            encoder=encoders[key],
            any_size=table.any_size,
            budget_ms=table.budget_ms,
        )
    )
    return Camera(
        table.name,
        detector,
        source,
        table.budget_ms,
        capture_settings(table),
        Rules(**msgspec.structs.asdict(table.rules)),
        tuple(Zone(**msgspec.structs.asdict(zone)) for zone in table.zone),
        build_trigger(table),
        table.skip_unchanged,
    )


def build_trigger(table: tables.CameraTable) -> MqttTrigger | None:
    """What takes the frames of a camera; ``None``: it gives them by itself.

    Raises:
        ConfigError: Its topic is none, or paho-mqtt is not installed.
    """
    if table.trigger is None:
        return None
    require_paho()
    return MqttTrigger(broker_of(table.trigger), table.trigger.topic)


def _load_encoder(bundle: EncoderBundle, options: Mapping[str, Any], engine: tables.EngineTable) -> Encoder:
    """In the engine that it was tuned with, or where this machine lacks that, in the configured one."""
    try:
        return Encoder.load(bundle, **options)
    except (EngineUnavailableError, PrecisionMissingError):
        as_configured = {name: getattr(engine, name) for name in ("device", "threads", "precision")}
        if {**as_configured, "engine": engine.name} == options:
            raise
        return Encoder.load(bundle, engine=engine.name, **as_configured)


def build_drift(
    config: tables.LoopConfig, cameras: Sequence[Camera], tell: Sequence[Listener]
) -> Drift | None:
    """The watch over drift, unless it is switched off for every camera.

    Args:
        config: Checked.
        cameras: Of the same configuration.
        tell: Who hears of alerts.
    """
    by_camera = {table.name: table.drift or config.drift for table in config.camera}
    watched = {each.name: each.detector for each in cameras if by_camera[each.name].enabled}
    detectors = {name: found for name, found in watched.items() if isinstance(found, Detector)}
    if not detectors:
        return None
    settings = {
        name: DriftSettings(**{field: getattr(by_camera[name], field) for field in setting_names()})
        for name in detectors
    }
    return Drift(detectors, tell, settings)


def build_source(table: tables.CameraTable, base: Path) -> Source:
    """The source of a camera; paths are relative to ``base``.

    Raises:
        SourceError: It is none, or a network camera's decoder or transport cannot be had here: that a start
            says it is better than a camera that has failed once the loop runs.
    """
    text = table.source
    for kind in _RELATIVE_KINDS:
        if text.startswith(kind):
            text = f"{kind}{base / text.removeprefix(kind)}"
    if is_there(base / text):
        text = str(base / text)
    source = source_from_text(text)
    if isinstance(source, NetworkCamera):
        source = replace(source, decoder=table.decoder, transport=table.transport)
        source.check()
    return source


def build_view(
    table: tables.ViewTable, cameras: Sequence[Camera], teacher: Teacher | None = None
) -> LiveView:
    """The live view of these cameras, with their thresholds to be moved.

    Args:
        table: How it is served.
        cameras: Those of the stream.
        teacher: Takes what the page's buttons say; ``None``: it has none.

    Raises:
        ConfigError: Its packages are not installed, or the token is too short.
    """
    return LiveView(
        table.host,
        table.port,
        token=table.token,
        teacher=teacher,
        thresholds=DetectorThresholds(cameras),
        max_fps=table.max_fps,
        max_side_px=table.max_side_px,
    )
