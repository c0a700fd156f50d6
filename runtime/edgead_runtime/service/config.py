"""Reading a loop's TOML file, with messages that name the field."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgead_runtime.errors import ConfigError
from edgead_runtime.service.tables import SINK_TYPES, TITLES, LoopConfig, table_at
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.zones import Zone, check_zones

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_WHERE = re.compile(r"(?: - at `\$\.?(?P<path>[^`]*)`)$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_FEW = 2
"""Tables that have a field of one name: of more, none is a hint."""
_MAX_BYTES = 1_000_000


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> LoopConfig:
    """Read and check a file.

    ``${NAME}`` in a text is taken from the environment, so that no password has to be in the file.

    Args:
        path: The TOML file; paths in it are relative to its folder.
        environment: By default that of the process.

    Raises:
        ConfigError: It cannot be read, or something in it is not valid; the message names the field.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} is larger than a configuration can be", "Give the TOML file.")
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}", "Check the path.") from error
    return parse_config(text, str(path), environment)


def parse_config(text: bytes, name: str, environment: Mapping[str, str] | None = None) -> LoopConfig:
    """The same from the file's bytes.

    Raises:
        ConfigError: Something is not valid.
    """
    try:
        data = msgspec.toml.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} is not TOML ({error})", "Mend that line.") from error
    except RecursionError as error:
        raise ConfigError(f"{name} is nested too deeply", "Mend it.") from error
    return config_from_data(data, name, environment)


def config_from_data(
    data: dict[str, Any], name: str, environment: Mapping[str, str] | None = None
) -> LoopConfig:
    """The same from plain data.

    Raises:
        ConfigError: Something is not valid.
    """
    filled = _filled(data, "", name, os.environ if environment is None else environment)
    try:
        config = msgspec.convert(filled, LoopConfig)
    except msgspec.ValidationError as error:
        raise _named(str(error), name, filled) from error
    _check(config, name)
    return config


def _filled(value: Any, where: str, name: str, environment: Mapping[str, str]) -> Any:
    """With variables of the environment put in."""
    if isinstance(value, dict):
        return {
            key: _filled(each, f"{where}.{key}".lstrip("."), name, environment) for key, each in value.items()
        }
    if isinstance(value, list):
        return [_filled(each, f"{where}[{index}]", name, environment) for index, each in enumerate(value)]
    if not isinstance(value, str):
        return value

    def from_environment(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ConfigError(
                f"{name}: {where} asks for the environment's {found[1]}, which is not set", "Set it."
            )
        return environment[found[1]]

    return _VARIABLE.sub(from_environment, value)


def _named(message: str, name: str, data: Mapping[str, Any]) -> ConfigError:
    """The message of msgspec with the field in front."""
    found = _WHERE.search(message)
    where = found["path"] if found else ""
    what = message[: found.start()] if found else message
    if unknown := _UNKNOWN.match(what):
        field = unknown["name"]
        return ConfigError(
            f"{name}: {f'{where}.{field}'.lstrip('.')}: there is no such field", _hint(field, where, data)
        )
    if missing := _MISSING.match(what):
        field = f"{where}.{missing['name']}".lstrip(".")
        return ConfigError(f"{name}: {field} is missing", "Add it.")
    if where.startswith("sink[") and where.endswith(".type"):
        return ConfigError(
            f"{name}: {where}: {what[:1].lower()}{what[1:]}", f"Sinks are {', '.join(SINK_TYPES)}."
        )
    return ConfigError(f"{name}: {where or 'the file'}: {what[:1].lower()}{what[1:]}", "Correct that field.")


def _hint(field: str, where: str, data: Mapping[str, Any]) -> str:
    """What somebody who wrote a field that is not there may have meant."""
    elsewhere = [title for title, table in TITLES.items() if field in table.__struct_fields__]
    if 1 <= len(elsewhere) <= _FEW:
        return f"It belongs into {' or '.join(elsewhere)}."
    here = table_at(where, data)
    if here is not None and (close := difflib.get_close_matches(field, here.__struct_fields__, 1)):
        return f"Did you mean {close[0]}?"
    # Last, since a word that is like one of another table is less of a hint.
    known = {each: title for title, table in TITLES.items() for each in table.__struct_fields__}
    if close := difflib.get_close_matches(field, sorted(known), 1):
        return f"Did you mean {close[0]}, in {known[close[0]]}?"
    return "`edgead run --print-config` shows all there are."


def _check(config: LoopConfig, name: str) -> None:
    """What is valid field by field, and not together."""
    names = [camera.name for camera in config.camera]
    for camera in config.camera:
        try:
            if names.count(camera.name) > 1:
                raise ConfigError("the name is given twice", "Name each camera once.")
            Rules(**msgspec.structs.asdict(camera.rules))
            check_zones([Zone(**msgspec.structs.asdict(zone)) for zone in camera.zone])
        except ConfigError as error:
            raise ConfigError(f"{name}: camera {camera.name}: {error.problem}", error.remedy) from error
