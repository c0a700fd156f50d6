"""From a configuration to the objects of the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgead_runtime.detector import Detector
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import ConfigError
from edgead_runtime.persistence import locate_encoder
from edgead_runtime.service import tables
from edgead_runtime.streaming.cameras import Camera
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.mqtt_client import Broker
from edgead_runtime.streaming.mqtt_trigger import MqttTrigger
from edgead_runtime.streaming.sinks import (
    ClipRecorder,
    Csv,
    JsonLines,
    Lines,
    Mqtt,
    PictureFolder,
    Sink,
    Webhook,
)
from edgead_runtime.streaming.sources import NetworkCamera, Source, source_from_text
from edgead_runtime.streaming.sources.spec import is_there
from edgead_runtime.streaming.teaching import Teacher
from edgead_runtime.streaming.thresholds import DetectorThresholds
from edgead_runtime.streaming.view import LiveView
from edgead_runtime.streaming.zones import Zone

_RELATIVE_KINDS = ("watch:", "play:")


def build_cameras(config: tables.LoopConfig, base: Path, stack: ExitStack) -> list[Camera]:
    """Load the detectors and make the cameras. Detectors of one encoder share it.

    Args:
        config: Checked.
        base: Paths are relative to it.
        stack: Closes the detectors and encoders.

    Raises:
        ConfigError: There is no camera.
        EdgeadError: A detector or source cannot be used.
    """
    if not config.camera:
        raise ConfigError(
            "there is no camera", "Give a detector and --source, or [[camera]] in the configuration."
        )
    encoders: dict[str, Encoder] = {}
    return [_camera(table, config.engine, base, encoders, stack) for table in config.camera]


def _camera(
    table: tables.CameraTable,
    engine: tables.EngineTable,
    base: Path,
    encoders: dict[str, Encoder],
    stack: ExitStack,
) -> Camera:
    options: dict[str, Any] = {
        "engine": engine.name,
        "device": engine.device,
        "threads": engine.threads,
        "precision": engine.precision,
    }
    path = base / table.detector
    if table.encoder is None:
        bundle = locate_encoder(path, read_bundle(path))
    else:
        bundle = EncoderBundle.open(base / table.encoder)
    fingerprint = bundle.manifest.fingerprint()
    if fingerprint not in encoders:
        encoders[fingerprint] = stack.enter_context(Encoder.load(bundle, **options))
    # Closed as well: the encoder is shared and stays, but settings for a budget bring their own.
    detector = stack.enter_context(
        Detector.load(
            path,
            encoder=encoders[fingerprint],
            any_size=table.any_size,
            budget_ms=table.budget_ms,
        )
    )
    if table.threshold is not None:
        detector.set_threshold(table.threshold)
    trigger = None
    if table.trigger is not None:
        trigger = MqttTrigger(_broker(table.trigger), table.trigger.topic)
    return Camera(
        table.name,
        detector,
        build_source(table, base),
        table.budget_ms,
        CaptureSettings(
            crop=table.crop,
            max_fps=table.max_fps,
            stall_s=table.stall_s,
            frozen_s=table.frozen_s,
            backoff_s=table.backoff_s,
            give_up_s=table.give_up_s,
        ),
        Rules(**msgspec.structs.asdict(table.rules)),
        tuple(Zone(**msgspec.structs.asdict(zone)) for zone in table.zone),
        trigger,
    )


def build_source(table: tables.CameraTable, base: Path) -> Source:
    """The source of a camera; paths are relative to ``base``.

    Raises:
        SourceError: It is none.
    """
    text = table.source
    for kind in _RELATIVE_KINDS:
        if text.startswith(kind):
            text = f"{kind}{base / text.removeprefix(kind)}"
    if is_there(base / text):
        text = str(base / text)
    source = source_from_text(text)
    if isinstance(source, NetworkCamera):
        return replace(source, decoder=table.decoder, transport=table.transport)
    return source


def _broker(fields: tables.BrokerFields) -> Broker:
    return Broker(fields.host, fields.port, fields.username, fields.password, fields.tls)


def build_sinks(config: tables.LoopConfig, base: Path) -> list[Sink]:
    """The sinks that get messages; clips are a listener (:func:`build_clips`).

    Args:
        config: Checked.
        base: Paths are relative to it.
    """
    sinks: list[Sink] = []
    for table in config.sink:
        if isinstance(table, tables.JsonlSink):
            sinks.append(JsonLines(base / table.path, max_mb=table.max_mb, keep=table.keep))
        elif isinstance(table, tables.CsvSink):
            sinks.append(Csv(base / table.path, max_mb=table.max_mb, keep=table.keep))
        elif isinstance(table, tables.PicturesSink):
            sinks.append(PictureFolder(base / table.folder, max_mb=table.max_mb))
        elif isinstance(table, tables.MqttSink):
            sinks.append(
                Mqtt(
                    _broker(table),
                    prefix=table.prefix,
                    pictures=table.pictures,
                    discovery=table.discovery,
                )
            )
        elif isinstance(table, tables.WebhookSink):
            headers: Mapping[str, str] = table.headers
            sinks.append(
                Webhook(
                    table.url,
                    headers=headers,
                    pictures=table.pictures,
                    timeout_s=table.timeout_s,
                    kinds=table.kinds,
                )
            )
        elif isinstance(table, tables.LinesSink):
            sinks.append(Lines())
    return sinks


def build_clips(config: tables.LoopConfig, base: Path) -> Sequence[ClipRecorder]:
    """The clip recorders."""
    return [
        ClipRecorder(
            base / table.folder,
            before_s=table.before_s,
            after_s=table.after_s,
            max_clip_s=table.max_clip_s,
            max_mb=table.max_mb,
        )
        for table in config.sink
        if isinstance(table, tables.ClipsSink)
    ]


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
