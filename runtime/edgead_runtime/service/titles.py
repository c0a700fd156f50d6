"""The tables of a loop's TOML file as a person calls them, and which of them is at a place of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edgead_runtime.service.tables import (
    CameraTable,
    DriftTable,
    EngineTable,
    LearningTable,
    LogTable,
    LoopConfig,
    MetricsTable,
    OutboxTable,
    RulesTable,
    SinkTable,
    Table,
    TriggerTable,
    ViewTable,
    ZoneTable,
)

SINKS: Mapping[str, type[Table]] = {str(sink.__struct_config__.tag): sink for sink in get_args(SinkTable)}
"""By their ``type``."""
TOP = "the top of the file"
TITLES: Mapping[str, type[Table]] = {
    TOP: LoopConfig,
    "[[camera]]": CameraTable,
    "[camera.rules]": RulesTable,
    "[[camera.zone]]": ZoneTable,
    "[camera.trigger]": TriggerTable,
    "[camera.drift]": DriftTable,
    "[drift]": DriftTable,
    "[engine]": EngineTable,
    "[outbox]": OutboxTable,
    "[metrics]": MetricsTable,
    "[learning]": LearningTable,
    "[view]": ViewTable,
    "[log]": LogTable,
}
TABLES: tuple[type[Table], ...] = tuple(dict.fromkeys([*TITLES.values(), *SINKS.values()]))

LISTS = frozenset({"camera", "sink", "zone"})
"""Of which there may be several, so that they are written in two brackets."""


def table_at(path: str, data: Mapping[str, Any]) -> type[Table] | None:
    """The table at a place of the file.

    Args:
        path: As msgspec gives it: ``camera[0].rules``; empty: the whole file.
        data: The file's, to see of which type a sink is.

    Returns:
        Its type, or ``None`` where there is no telling.
    """
    title = title_at(path, data)
    return TITLES.get(title) or SINKS.get(title)


def title_at(path: str, data: Mapping[str, Any]) -> str:
    """The title of the table at a place of the file; of a sink its type; empty where there is no telling."""
    first, _, rest = path.partition(".")
    name, _, index = first.partition("[")
    if name == "sink":
        return str(entry_at(data, "sink", index.rstrip("]")).get("type"))
    inside = rest.partition("[")[0].partition(".")[0]
    if name == "camera" and inside:
        name = f"camera.{inside}"
    titles = (TOP,) if not name else (f"[{name}]", f"[[{name}]]")
    return next((title for title in titles if title in TITLES), "")


def entry_at(data: Mapping[str, Any], name: str, index: str) -> Mapping[str, Any]:
    """One table of a list of the file; empty where there is none."""
    try:
        entry = data[name][int(index)]
    except (KeyError, IndexError, ValueError, TypeError):
        return {}
    return entry if isinstance(entry, dict) else {}


def tables_with(field: str) -> list[str]:
    """The titles of the tables that have a field of this name; all sinks that do are one."""
    titles = [title for title, table in TITLES.items() if field in table.__struct_fields__]
    sinks = [f'"{tag}"' for tag, table in SINKS.items() if field in table.__struct_fields__]
    return [*titles, f"a [[sink]] of type {' or '.join(sinks)}"] if sinks else titles


def words_for(table: type[Table] | None, field: str) -> list[str]:
    """The words that a field takes, where it takes only certain ones."""
    if table is None or field not in table.__struct_fields__:
        return []
    return list(dict.fromkeys(_words_in(get_type_hints(table)[field])))


def _words_in(kind: Any) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
        return
    for inner in get_args(kind):
        yield from _words_in(inner)
