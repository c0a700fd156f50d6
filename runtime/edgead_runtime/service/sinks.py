"""From the configuration to the sinks that messages go to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgead_runtime.errors import ConfigError
from edgead_runtime.service import tables
from edgead_runtime.streaming.mqtt_client import Broker, require_paho
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


def broker_of(fields: tables.BrokerFields) -> Broker:
    """The broker that a table names."""
    return Broker(fields.host, fields.port, fields.username, fields.password, fields.tls)


def build_sinks(config: tables.LoopConfig, base: Path) -> list[Sink]:
    """The sinks that get messages; clips are a listener (:func:`build_clips`).

    Args:
        config: Checked.
        base: Paths are relative to it.

    Raises:
        ConfigError: One cannot be used as it was given, or two are the same.
    """
    check_places(config, base)
    sinks: list[Sink] = []
    for place, table in sink_tables(config):
        sink = build_sink(table, base, place)
        if sink is not None:
            check_not_twice(sink, sinks, place)
            sinks.append(sink)
    return sinks


def sink_tables(config: tables.LoopConfig) -> Iterator[tuple[str, tables.SinkTable]]:
    """Each with what to call it: ``sink 2 (mqtt)``, as the reader of the file does."""
    for number, table in enumerate(config.sink, start=1):
        yield f"sink {number} ({table.__struct_config__.tag})", table


def build_sink(table: tables.SinkTable, base: Path, place: str) -> Sink | None:
    """One of them; ``None`` for clips.

    Args:
        table: Its table.
        base: Paths are relative to it.
        place: What to call it.

    Raises:
        ConfigError: It cannot be used as it was given.
    """
    try:
        return _built(table, base)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.problem}", error.remedy) from error


def check_places(config: tables.LoopConfig, base: Path) -> None:
    """Refuse two that write to one file, or clips of two recorders in one folder.

    Raises:
        ConfigError: They would spoil each other's.
    """
    taken = {(base / config.outbox.path).resolve(): "[outbox]"}
    for place, table in sink_tables(config):
        if isinstance(table, tables.JsonlSink | tables.CsvSink):
            path = (base / table.path).resolve()
        elif isinstance(table, tables.ClipsSink):
            path = (base / table.folder).resolve()
        else:
            continue
        if path in taken:
            raise ConfigError(
                f"{place} writes to {path}, as {taken[path]} does", "Give each a place of its own."
            )
        taken[path] = place


def check_not_twice(sink: Sink, others: Sequence[Sink], place: str) -> None:
    """Refuse one that would write where another does: its place in the outbox is kept by its name.

    Raises:
        ConfigError: It would.
    """
    if sink.name in [other.name for other in others]:
        raise ConfigError(f"{place}: there is another one, {sink.name}", "Leave one of the two out.")


def _built(table: tables.SinkTable, base: Path) -> Sink | None:
    if isinstance(table, tables.JsonlSink):
        return JsonLines(base / table.path, max_mb=table.max_mb, keep=table.keep)
    if isinstance(table, tables.CsvSink):
        return Csv(base / table.path, max_mb=table.max_mb, keep=table.keep)
    if isinstance(table, tables.PicturesSink):
        return PictureFolder(base / table.folder, max_mb=table.max_mb)
    if isinstance(table, tables.MqttSink):
        require_paho()  # now, since a sink that fails while it runs is only tried again
        return Mqtt(broker_of(table), prefix=table.prefix, pictures=table.pictures, discovery=table.discovery)
    if isinstance(table, tables.WebhookSink):
        return Webhook(
            table.url,
            headers=table.headers,
            pictures=table.pictures,
            timeout_s=table.timeout_s,
            kinds=table.kinds,
        )
    return Lines() if isinstance(table, tables.LinesSink) else None


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
