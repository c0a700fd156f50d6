"""Reading a loop's TOML file, with messages that name the field."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgead_runtime.errors import ConfigError
from edgead_runtime.service.tables import CameraTable, LoopConfig
from edgead_runtime.service.wording import in_words, not_toml, place_of
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.names import check_name
from edgead_runtime.streaming.zones import Zone, check_zones

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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
        data = msgspec.toml.decode(text.removeprefix(_BYTE_ORDER_MARK))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not TOML ({error})", "Save it as UTF-8.") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{name} is not TOML ({error})", not_toml(str(error), text)) from error
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
    filled = _Filling(data, name, os.environ if environment is None else environment)(data)
    try:
        config = msgspec.convert(filled, LoopConfig)
    except msgspec.ValidationError as error:
        raise in_words(str(error), name, filled) from error
    config = laid_over(config, filled)
    _check(config, name)
    return config


def laid_over(config: LoopConfig, data: Mapping[str, Any]) -> LoopConfig:
    """Each table of a camera that the file has for all too, laid over that field by field.

    Args:
        config: As it was read.
        data: The same as plain data, which tells what was written from what is a default.
    """
    shared = [name for name in LoopConfig.__struct_fields__ if name in CameraTable.__struct_fields__]
    cameras = []
    for camera, written in zip(config.camera, data.get("camera", ()), strict=True):
        laid = {
            name: msgspec.structs.replace(
                getattr(config, name), **{field: getattr(own, field) for field in written[name]}
            )
            for name in shared
            if (own := getattr(camera, name)) is not None
        }
        cameras.append(msgspec.structs.replace(camera, **laid))
    return msgspec.structs.replace(config, camera=tuple(cameras))


class _Filling:
    """Puts variables of the environment in, and refuses numbers that are none.

    Args:
        data: The whole file's.
        name: Of the file.
        environment: What variables there are.
    """

    def __init__(self, data: Mapping[str, Any], name: str, environment: Mapping[str, str]) -> None:
        self._data, self._name, self._environment = data, name, environment

    def __call__(self, value: Any, path: str = "") -> Any:
        """The value with all that is in it."""
        if isinstance(value, dict):
            return {key: self(each, f"{path}.{key}".lstrip(".")) for key, each in value.items()}
        if isinstance(value, list):
            return [self(each, f"{path}[{index}]") for index, each in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{self._place(path)}: {value} is no number to work with", "Correct it.")
        if not isinstance(value, str):
            return value
        return _VARIABLE.sub(lambda found: self._variable(found[1], path), value)

    def _variable(self, name: str, path: str) -> str:
        if name not in self._environment:
            raise ConfigError(
                f"{self._place(path)} asks for the environment's {name}, which is not set", "Set it."
            )
        return self._environment[name]

    def _place(self, path: str) -> str:
        return ": ".join(part for part in (self._name, place_of(path, self._data)) if part)


def _check(config: LoopConfig, name: str) -> None:
    """What is valid field by field, and not together."""
    names = [camera.name for camera in config.camera]
    for camera in config.camera:
        try:
            check_name(camera.name, "a camera")
            if names.count(camera.name) > 1:
                raise ConfigError("the name is given twice", "Name each camera once.")
            Rules(**msgspec.structs.asdict(camera.rules))
            capture_settings(camera)
            check_zones([Zone(**msgspec.structs.asdict(zone)) for zone in camera.zone])
        except ConfigError as error:
            raise ConfigError(f"{name}: camera {camera.name}: {error.problem}", error.remedy) from error


def capture_settings(table: CameraTable) -> CaptureSettings:
    """How a camera's frames are taken.

    Raises:
        ConfigError: The numbers do not go together.
    """
    return CaptureSettings(
        crop=table.crop,
        max_fps=table.max_fps,
        stall_s=table.stall_s,
        frozen_s=table.frozen_s,
        backoff_s=table.backoff_s,
        give_up_s=table.give_up_s,
    )
