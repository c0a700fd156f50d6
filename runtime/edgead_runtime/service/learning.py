"""From the configuration to what takes lessons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgead_runtime.detector import Detector
from edgead_runtime.errors import ConfigError
from edgead_runtime.service import tables
from edgead_runtime.service.sinks import broker_of
from edgead_runtime.streaming.cameras import Camera
from edgead_runtime.streaming.learning import LineLearning
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.mqtt_commands import MqttCommands
from edgead_runtime.streaming.teaching import Teacher


def build_learning(
    config: tables.LoopConfig,
    base: Path,
    cameras: Sequence[Camera],
    tell: Callable[[Message], None] | None = None,
    so_far: Callable[[str, int, int], None] = lambda camera, done, total: None,
) -> LineLearning | None:
    """What teaches the cameras' detectors; ``None`` where nothing of the kind is configured.

    Args:
        config: Checked.
        base: Paths are relative to it.
        cameras: Those of the loop.
        tell: Takes the message of each lesson.
        so_far: See :class:`LineLearning`.
    """
    table = config.learning
    if table is None:
        return None
    detectors = {each.name: each.detector for each in cameras if isinstance(each.detector, Detector)}
    return LineLearning(
        detectors,
        base / table.folder,
        max_mb=table.max_mb,
        bank_limit=table.bank_limit,
        tell=tell,
        so_far=so_far,
    )


def build_commands(
    config: tables.LoopConfig, cameras: Sequence[Camera], teacher: Teacher | None
) -> list[MqttCommands]:
    """Those that take lessons over MQTT; listeners of the stream.

    Args:
        config: Checked.
        cameras: Those of the loop.
        teacher: Takes the lessons.

    Raises:
        ConfigError: There are some and there is no ``[learning]``.
    """
    wanted = [table for table in config.sink if isinstance(table, tables.MqttSink) and table.commands]
    if wanted and teacher is None:
        raise ConfigError("an mqtt sink takes commands, and there is no [learning]", "Add that table.")
    if teacher is None:
        return []
    names = [camera.name for camera in cameras]
    return [
        MqttCommands(
            broker_of(table),
            table.prefix,
            names,
            teacher,
        )
        for table in wanted
    ]
