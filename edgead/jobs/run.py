"""A loop's configuration with what was said on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from edgead_runtime.errors import ConfigError
from edgead_runtime.service.tables import (
    CameraTable,
    JsonlSink,
    LearningTable,
    LoopConfig,
    OutboxTable,
    RulesTable,
    ViewTable,
)
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.sources.spec import is_there


@dataclass(frozen=True)
class CommandLineCamera:
    """One camera as options give it."""

    name: str
    detector: Path
    source: str
    encoder: Path | None
    budget_ms: float | None
    hits: int
    window: int


def with_command_line(
    config: LoopConfig,
    camera: CommandLineCamera | None,
    *,
    events: Path | None = None,
    view: str | None = None,
    engine: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    learn: Path | None = None,
) -> LoopConfig:
    """The configuration with a camera, a file of events and engine options more.

    Args:
        config: From a file, or the defaults.
        camera: Added to its cameras.
        events: A JSONL file added to its sinks.
        view: ``[HOST:]PORT`` of the live view.
        engine: Instead of its own.
        precision: Instead of its own.
        threads: Instead of its own.
        learn: Folder of what is taught, instead of its own.

    Raises:
        ConfigError: There is no camera then, two of one name, or a value out of range.
    """
    changes: dict[str, Any] = {}
    if camera is not None:
        if camera.name in [each.name for each in config.camera]:
            raise ConfigError(
                f"there is a camera {camera.name} in the configuration", "Choose another --name."
            )
        if camera.budget_ms is not None and not camera.budget_ms > 0:
            raise ConfigError(f"--budget {camera.budget_ms:g} is no time", "Give milliseconds above 0.")
        Rules(hits=camera.hits, window=camera.window)
        table = CameraTable(
            name=camera.name,
            detector=str(camera.detector.absolute()),
            source=_absolute(camera.source),
            encoder=None if camera.encoder is None else str(camera.encoder.absolute()),
            budget_ms=camera.budget_ms,
            rules=RulesTable(hits=camera.hits, window=camera.window),
        )
        changes["camera"] = (*config.camera, table)
    if events is not None:
        changes["sink"] = (*config.sink, JsonlSink(path=str(events.absolute())))
        if not config.sink:
            changes["outbox"] = OutboxTable(path=f"{events.absolute()}.outbox")
    if view is not None:
        host, port = view_address(view)
        base = config.view or ViewTable()
        changes["view"] = msgspec.structs.replace(base, host=host or base.host, port=port)
    wanted = {"name": engine, "precision": precision, "threads": threads}
    said = {field: value for field, value in wanted.items() if value is not None}
    if said:
        changes["engine"] = msgspec.structs.replace(config.engine, **said)
    if learn is not None:
        kept = config.learning or LearningTable()
        changes["learning"] = msgspec.structs.replace(kept, folder=str(learn.absolute()))
    complete: LoopConfig = msgspec.structs.replace(config, **changes)
    if not complete.camera:
        raise ConfigError("there is no camera", "Give a detector and --source, or --config with [[camera]].")
    return complete


def view_address(text: str) -> tuple[str, int]:
    """Host (empty where none is given) and port of ``[HOST:]PORT``.

    Raises:
        ConfigError: It is neither.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and not bracketed):
        raise ConfigError(
            f"--view {text} is no address", "Give a port, or HOST:PORT, e.g. 8675 or 0.0.0.0:8675."
        )
    return host.strip("[]"), int(port)


def _absolute(source: str) -> str:
    """A path as it is from here; the configuration's own are relative to its file."""
    kind, colon, rest = source.partition(":")
    if colon and kind in ("watch", "play"):
        return f"{kind}:{Path(rest).absolute()}"
    return str(Path(source).absolute()) if source and is_there(Path(source)) else source
