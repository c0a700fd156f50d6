"""The tables of a loop's TOML file. Types, ranges and defaults are here, and nowhere else twice.

A table that a camera has under the name of one that the file has for all (``[camera.drift]``, ``[drift]``) is
laid over that: what it leaves out is as it is there (:func:`edgead_runtime.service.config.laid_over`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgead_runtime.manifest import Precision
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.drift import DriftSettings
from edgead_runtime.streaming.view.live import DEFAULT_PORT

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Megabytes = Annotated[float, Meta(gt=0, le=1e9)]
MessageKind = Literal["event", "trouble", "drift", "learned", "unlearned", "loss"]
"""Those of :data:`edgead_runtime.streaming.messages.KINDS`."""
Limit = Annotated[float, Meta(ge=0, lt=0.5)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; a field that it does not know is an error."""


class RulesTable(Table, frozen=True):
    """``[camera.rules]``: when an event opens and closes."""

    hits: Count = Rules.hits
    window: Count = Rules.window
    close_ratio: Annotated[float, Meta(gt=0, le=1)] = Rules.close_ratio
    close_after: Count = Rules.close_after
    cool_down_s: NotNegative = Rules.cool_down_s
    close_unseen_s: NotNegative = Rules.close_unseen_s
    update_every_s: NotNegative = Rules.update_every_s


class ZoneTable(Table, frozen=True):
    """``[[camera.zone]]``: an area that is judged by itself."""

    name: Text
    polygon: Annotated[tuple[tuple[Share, Share], ...], Meta(min_length=3)]
    min_area_px: Count = 1
    threshold: NotNegative | None = None


class BrokerFields(Table, frozen=True):
    """How to reach an MQTT broker."""

    host: Text
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    username: str | None = None
    password: str | None = None
    tls: bool = False


class TriggerTable(BrokerFields, frozen=True, kw_only=True):
    """``[camera.trigger]``: an MQTT message takes a frame."""

    topic: Text


class DriftTable(Table, frozen=True):
    """``[drift]``, and ``[camera.drift]`` laid over it: how far it may be from enrolment."""

    enabled: bool = True
    window: Annotated[int, Meta(ge=10)] = DriftSettings.window
    for_s: NotNegative = DriftSettings.for_s
    brightness: Limit = DriftSettings.brightness
    sharpness: Limit = DriftSettings.sharpness
    mask_area: Limit = DriftSettings.mask_area
    score: Limit = DriftSettings.score
    patch_distance: Limit = DriftSettings.patch_distance
    position: Limit = DriftSettings.position
    close_ratio: Annotated[float, Meta(gt=0, le=1)] = DriftSettings.close_ratio


class CameraTable(Table, frozen=True):
    """``[[camera]]``."""

    name: Text
    detector: Text
    source: Text
    encoder: str | None = None
    any_size: bool = False
    threshold: NotNegative | None = None
    budget_ms: Positive | None = None
    decoder: Literal["auto", "av", "opencv"] = "auto"
    transport: Literal["tcp", "udp"] = "tcp"
    crop: tuple[int, int, int, int] | None = None
    max_fps: Positive | None = None
    stall_s: Positive = CaptureSettings.stall_s
    frozen_s: NotNegative = CaptureSettings.frozen_s
    backoff_s: tuple[Positive, Positive] = CaptureSettings.backoff_s
    give_up_s: Positive | None = None
    rules: RulesTable = RulesTable()
    zone: tuple[ZoneTable, ...] = ()
    trigger: TriggerTable | None = None
    skip_unchanged: Annotated[float, Meta(ge=0, le=6)] | None = None
    drift: DriftTable | None = None


class EngineTable(Table, frozen=True):
    """``[engine]``: what runs the encoder; shared by all cameras."""

    name: str = "auto"
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "fp32"
    threads: Count | None = None
    timeout_s: Positive = 60.0
    give_up_after: Annotated[int, Meta(ge=0)] = 100


class OutboxTable(Table, frozen=True):
    """``[outbox]``: where messages wait."""

    path: Text = "edgead-outbox.db"
    max_mb: Megabytes = 200.0


class MetricsTable(Table, frozen=True):
    """``[metrics]``: numbers and health over HTTP."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 9464


class LearningTable(Table, frozen=True):
    """``[learning]``: good parts are added on the line, and kept."""

    folder: Text = "edgead-learning"
    max_mb: Megabytes = 2000.0
    bank_limit: Count | None = None


class ViewTable(Table, frozen=True):
    """``[view]``: the live view in a browser."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = DEFAULT_PORT
    token: str | None = None
    max_fps: Positive = 10.0
    max_side_px: Annotated[int, Meta(ge=64)] = 960


class LogTable(Table, frozen=True):
    """``[log]``."""

    json: bool = False
    level: Literal["debug", "info", "warning", "error"] = "info"
    status_every_s: NotNegative = 60.0


class JsonlSink(Table, tag="jsonl", tag_field="type", frozen=True):
    """``type = "jsonl"``."""

    path: Text
    max_mb: Megabytes = 50.0
    keep: Annotated[int, Meta(ge=0)] = 5


class CsvSink(Table, tag="csv", tag_field="type", frozen=True):
    """``type = "csv"``."""

    path: Text
    max_mb: Megabytes = 50.0
    keep: Annotated[int, Meta(ge=0)] = 5


class PicturesSink(Table, tag="pictures", tag_field="type", frozen=True):
    """``type = "pictures"``."""

    folder: Text
    max_mb: Megabytes = 1000.0


class ClipsSink(Table, tag="clips", tag_field="type", frozen=True):
    """``type = "clips"``."""

    folder: Text
    before_s: NotNegative = 3.0
    after_s: NotNegative = 2.0
    max_clip_s: Positive = 30.0
    max_mb: Megabytes = 2000.0


class MqttSink(BrokerFields, tag="mqtt", tag_field="type", frozen=True):
    """``type = "mqtt"``."""

    prefix: Text = "edgead"
    pictures: bool = True
    discovery: bool = False
    commands: bool = False


class WebhookSink(Table, tag="webhook", tag_field="type", frozen=True):
    """``type = "webhook"``."""

    url: Text
    headers: dict[str, str] = {}
    pictures: bool = False
    timeout_s: Positive = 10.0
    kinds: tuple[MessageKind, ...] = ()


class LinesSink(Table, tag="lines", tag_field="type", frozen=True):
    """``type = "lines"``: JSON lines on stdout."""


SinkTable = JsonlSink | CsvSink | PicturesSink | ClipsSink | MqttSink | WebhookSink | LinesSink


class LoopConfig(Table, frozen=True):
    """The whole file."""

    camera: tuple[CameraTable, ...] = ()
    sink: tuple[SinkTable, ...] = ()
    engine: EngineTable = EngineTable()
    drift: DriftTable = DriftTable()
    outbox: OutboxTable = OutboxTable()
    metrics: MetricsTable | None = None
    learning: LearningTable | None = None
    view: ViewTable | None = None
    log: LogTable = LogTable()
