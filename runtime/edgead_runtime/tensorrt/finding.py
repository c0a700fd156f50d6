"""The engine that was built for a graph: in which place it is, and why one that is there cannot be used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from edgead_runtime.cache import cache_dir
from edgead_runtime.errors import BundleError, EngineMismatchError, EngineUnavailableError
from edgead_runtime.files import sha256_bytes
from edgead_runtime.tensorrt.api import Flavour
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.failures import failed_here
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.places import FOLDER, folders_of, own_folder
from edgead_runtime.tensorrt.record import EngineRecord, decode_record
from edgead_runtime.tensorrt.store import Wanted, identify, options_for, plan_path, rebuild_command


class EngineMissingError(EngineUnavailableError):
    """No engine was built; one can be.

    Args:
        problem: What is wrong, in one line.
        remedy: What to type.
        options: How it should be built, where that is known.
    """

    def __init__(self, problem: str, remedy: str, options: BuildOptions | None) -> None:
        super().__init__(problem, remedy)
        self.options = options


class ForAnotherError(EngineMismatchError):
    """There is an engine for another GPU, TensorRT or file; one for these can be built.

    Args:
        problem: What is wrong, in one line.
        remedy: What to type.
        options: How it was built.
        differences: How many things are not what is here.
        elsewhere: The one in the first place (the encoder's own folder) may be right on another machine,
            which shares that folder.
    """

    def __init__(
        self, problem: str, remedy: str, options: BuildOptions, differences: int, *, elsewhere: bool
    ) -> None:
        super().__init__(problem, remedy)
        self.options = options
        self.differences = differences
        self.elsewhere = elsewhere


class FailedGateError(EngineMismatchError):
    """An engine was built for what is here and computes something else; building it again would not help."""


def find_engine(
    model: bytes, source: str | None, flavour: Flavour, tensorrt: str, here: DeviceFacts
) -> tuple[bytes, EngineRecord]:
    """The plan that was built for a graph and may be used here, wherever it lies.

    Args:
        model: The ONNX file's bytes.
        source: The encoder bundle that it came from.
        flavour: Which TensorRT.
        tensorrt: Its version.
        here: The GPU.

    Raises:
        EngineUnavailableError: None was built.
        EngineMismatchError: Those that were are for another GPU, TensorRT or graph, or one failed its parity
            gate. Of several, that is said of which the least differs.
        BundleError: It is damaged.
    """
    digest = sha256_bytes(model)
    wanted = identify(model, source)

    def again(options: BuildOptions | None = None) -> str:
        return rebuild_command(source, flavour, options, here, wanted)

    refused: list[BundleError | EngineMismatchError] = []
    folders = folders_of(source)
    elsewhere = False
    for folder in folders:
        path = plan_path(folder, flavour.name, digest)
        if path.with_suffix(".json").is_file():
            try:
                return _usable(path, digest, tensorrt, here, again)
            except (BundleError, EngineMismatchError) as error:
                refused.append(error)
                if folder == folders[0] and isinstance(error, ForAnotherError):
                    elsewhere = error.elsewhere
    nearest = min(refused, key=_differences, default=None)  # the first of several
    if nearest is not None and not isinstance(nearest, ForAnotherError):
        raise nearest
    options = options_of_earlier(source, flavour, wanted) if nearest is None else nearest.options
    tried = None if options is None else options_for(options, flavour, here)
    failed = failed_here(source, flavour.name, digest, tensorrt, here, tried)
    if failed is not None:
        path, record = failed
        raise _failed(f"the engine that was built here on {record.created}", path, record, again)
    if nearest is not None:
        nearest.elsewhere = elsewhere
        raise nearest
    raise EngineMissingError(
        f"no {flavour.name} engine was built for this graph",
        f"Build it on this machine: {again()}",
        options,
    )


def options_of_earlier(source: str | None, flavour: Flavour, wanted: Wanted) -> BuildOptions | None:
    """How an engine was last built for the same graph with other weights, where there is one."""
    found = []
    for path in own_folder(source).glob(f"{flavour.name}-*.json"):
        try:
            record = decode_record(path.read_bytes(), str(path))
        except (OSError, BundleError):
            continue
        is_such = (record.flavour, record.precision) == (flavour.name, wanted.precision)
        if is_such and (record.graph == "search") == (wanted.graph == "search"):
            found.append(record)
    latest = max(found, key=lambda record: record.created, default=None)
    return None if latest is None else latest.options


def _usable(
    path: Path, digest: str, tensorrt: str, here: DeviceFacts, again: Callable[[BuildOptions], str]
) -> tuple[bytes, EngineRecord]:
    beside = path.with_suffix(".json")
    record = decode_record(_read(beside), str(beside))
    problems = record.mismatches(digest, tensorrt, here)
    if problems:
        raise ForAnotherError(
            f"{path} cannot be used: {'; '.join(problems)}",
            f"Build it again: {again(record.options)}",
            record.options,
            len(problems),
            elsewhere=record.is_of_another_machine(here),
        )
    if record.parity is not None and not record.parity.passed:
        raise _failed(str(path), beside, record, again)
    plan = _read(path)
    if len(plan) != record.plan_bytes or sha256_bytes(plan) != record.plan_sha256:
        raise BundleError(
            f"{path} is damaged: it does not match the JSON beside it",
            f"Build it again: {again(record.options)}",
        )
    if path.parent == cache_dir() / FOLDER:
        with contextlib.suppress(OSError):
            os.utime(path)  # what was used least lately goes first
    return plan, record


def _failed(
    what: str, path: Path, record: EngineRecord, again: Callable[[BuildOptions], str]
) -> FailedGateError:
    said = "" if record.parity is None else f" ({record.parity.figures()})"
    return FailedGateError(
        f"{what} cannot be used: it does not compute what the ONNX file computes{said}; {path} keeps that",
        "Export and build another precision, or use another TensorRT. "
        f"To try the same again: {again(record.options)}",
    )


def _differences(error: BundleError | EngineMismatchError) -> int:
    """How far an engine is from one that can be used: one that failed is for what is here."""
    if isinstance(error, ForAnotherError):
        return 1 + error.differences
    return 1 if isinstance(error, BundleError) else 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"cannot read {path}: {error.strerror or error}",
            "Build the engine again with `edgead-runtime build`.",
        ) from error
