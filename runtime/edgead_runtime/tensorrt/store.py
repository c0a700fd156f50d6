"""Where engines lie: in the encoder bundle's own ``engines`` folder, or in the cache.

An engine's name carries the start of its ONNX file's hash, so that another export never meets an old engine.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgead_runtime.cache import cache_dir, trim
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import BundleError, EdgeadError, EngineMismatchError, EngineUnavailableError
from edgead_runtime.files import output_error, sha256_bytes, write_atomic
from edgead_runtime.index.in_engine import neighbours_of
from edgead_runtime.manifest import Precision
from edgead_runtime.persistence import locate_encoder
from edgead_runtime.tensorrt.api import Flavour
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.record import EngineRecord, GraphName, decode_record, encode_record


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
    """

    def __init__(self, problem: str, remedy: str, options: BuildOptions | None) -> None:
        super().__init__(problem, remedy)
        self.options = options


FOLDER = "engines"
"""Inside an encoder bundle and in the cache."""
_HASH_LETTERS = 16


def own_folder(source: str | None) -> Path:
    """Where engines for a bundle are written: inside it, or in the cache where it is not a folder."""
    if source is not None and Path(source).is_dir():
        return Path(source) / FOLDER
    return cache_dir() / FOLDER


def plan_path(folder: Path, flavour: str, onnx_sha256: str) -> Path:
    """The plan; its JSON has the same name with another ending."""
    return folder / f"{flavour}-{onnx_sha256[:_HASH_LETTERS]}.plan"


def rebuild_command(
    source: str | None,
    flavour: Flavour,
    options: BuildOptions | None = None,
    here: DeviceFacts | None = None,
    wanted: Wanted | None = None,
) -> str:
    """What to type for an engine that can be used here.

    Args:
        source: The encoder bundle.
        flavour: Which TensorRT.
        options: Of the engine that is to be replaced.
        here: The GPU; one that is built ahead of time has to be told of it.
        wanted: Which graph.
    """
    options = options or BuildOptions()
    if here is not None and flavour.ahead_of_time:
        options = msgspec.structs.replace(options, sm=tuple(sorted({*options.sm, here.sm})))
    place = shlex.quote(source or "ENCODER")
    command = f"edgead-runtime build {place} --engine {flavour.name} {options.arguments()}".strip()
    return f"{command} {(wanted or Wanted()).arguments()}".strip()


@dataclass(frozen=True)
class Wanted:
    """A graph of a bundle, as one asks for it to be built."""

    graph: GraphName | None = None
    """``None``: the one that a detector would run."""
    precision: Precision = "fp32"
    neighbours: int = 1
    """Of a search."""

    def arguments(self) -> str:
        """As ``edgead-runtime build`` takes them."""
        words = [] if self.precision == "fp32" else ["--precision", self.precision]
        words += [] if self.graph is None else ["--graph", self.graph]
        words += [] if self.neighbours == 1 else ["--neighbours", str(self.neighbours)]
        return " ".join(words)


def identify(model: bytes, source: str | None) -> Wanted:
    """Which graph an ONNX file is.

    Args:
        model: The file's bytes.
        source: The encoder bundle, or detector file, that it came from.
    """
    neighbours = neighbours_of(model)
    if neighbours is not None:
        return Wanted("search", neighbours=neighbours)
    if source is None:
        return Wanted()
    try:
        manifest = open_encoder(source).manifest
    except EdgeadError:  # it was there when the file was read, and what is asked here is said either way
        return Wanted()
    digest = sha256_bytes(model)
    for frame in manifest.frames:
        if frame.sha256 == digest:
            return Wanted(precision=frame.precision)
    for file in manifest.files:
        if file.sha256 == digest:
            # Not the one that a detector would run, where there is a frame graph too.
            is_usual = manifest.frame_of(file.precision) is None
            return Wanted(None if is_usual else "encoder", file.precision)
    return Wanted()


def open_encoder(source: str | Path) -> EncoderBundle:
    """The encoder of a bundle folder, or of a detector file.

    Raises:
        BundleError: It is neither.
        EncoderNotFoundError: The detector's encoder is not where it was.
    """
    path = Path(source)
    if path.is_file():
        return locate_encoder(path, read_bundle(path))
    return EncoderBundle.open(path)


def options_of_earlier(source: str | None, flavour: Flavour, wanted: Wanted) -> BuildOptions | None:
    """How an engine was built for the same graph with other weights, where there is one."""
    for path in sorted(own_folder(source).glob(f"{flavour.name}-*.json")):
        try:
            record = decode_record(path.read_bytes(), str(path))
        except (OSError, BundleError):
            continue
        is_search = record.graph == "search"
        if record.precision == wanted.precision and is_search == (wanted.graph == "search"):
            return record.options
    return None


def write_engine(folder: Path, plan: bytes, record: EngineRecord) -> Path:
    """Write an engine and its JSON; the plan's path.

    Raises:
        OutputError: They cannot be written.
    """
    path = plan_path(folder, record.flavour, record.onnx_sha256)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The old JSON goes first: a power cut in between leaves no engine instead of a wrong one.
        path.with_suffix(".json").unlink(missing_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    write_atomic(path, plan)
    write_atomic(path.with_suffix(".json"), encode_record(record))
    if folder == cache_dir() / FOLDER:  # and not a bundle's own, which is the user's
        trim(folder, path.suffix, ".json")
    return path


def find_engine(
    model: bytes, source: str | None, flavour: Flavour, tensorrt: str, here: DeviceFacts
) -> tuple[bytes, EngineRecord]:
    """The plan that was built for a graph, if it may be used here.

    Args:
        model: The ONNX file's bytes.
        source: The encoder bundle that it came from.
        flavour: Which TensorRT.
        tensorrt: Its version.
        here: The GPU.

    Raises:
        EngineUnavailableError: None was built.
        EngineMismatchError: It is for another GPU, TensorRT or graph, or it failed its parity gate.
        BundleError: It is damaged.
    """
    digest = sha256_bytes(model)
    folders = dict.fromkeys((own_folder(source), cache_dir() / FOLDER))
    paths = [plan_path(folder, flavour.name, digest) for folder in folders]
    path = next((path for path in paths if path.with_suffix(".json").is_file()), None)
    wanted = identify(model, source)
    if path is None:
        raise EngineMissingError(
            f"no {flavour.name} engine was built for this graph",
            "Build it on this machine: " + rebuild_command(source, flavour, here=here, wanted=wanted),
            options_of_earlier(source, flavour, wanted),
        )
    record = decode_record(_read(path.with_suffix(".json")), str(path.with_suffix(".json")))
    again = f"Build it again: {rebuild_command(source, flavour, record.options, here, wanted)}"
    problems = record.mismatches(digest, tensorrt, here)
    if problems:
        raise ForAnotherError(f"{path} cannot be used: {'; '.join(problems)}", again, record.options)
    if record.parity is not None and not record.parity.passed:
        raise EngineMismatchError(
            f"{path} cannot be used: it does not compute what the ONNX file computes (patch cosine "
            f"{record.parity.cosine_min:.4f})",
            "Export and build another precision, or use another TensorRT.",
        )
    plan = _read(path)
    if len(plan) != record.plan_bytes or sha256_bytes(plan) != record.plan_sha256:
        raise BundleError(f"{path} is damaged: it does not match the JSON beside it", again)
    if path.parent == cache_dir() / FOLDER:
        with contextlib.suppress(OSError):
            os.utime(path)  # what was used least lately goes first
    return plan, record


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"cannot read {path}: {error.strerror or error}",
            "Build the engine again with `edgead-runtime build`.",
        ) from error
