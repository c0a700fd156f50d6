"""Engines as files, and which graph of a bundle one is for.

An engine's name carries the start of its ONNX file's hash, so that another export never meets an old engine.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgead_runtime.cache import cache_dir, trim
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import EdgeadError
from edgead_runtime.files import output_error, sha256_bytes, write_atomic
from edgead_runtime.index.in_engine import neighbours_of
from edgead_runtime.manifest import Precision
from edgead_runtime.persistence import locate_encoder
from edgead_runtime.tensorrt.api import Flavour
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.places import FOLDER
from edgead_runtime.tensorrt.record import EngineRecord, GraphName, encode_record, refuses_hardware

_HASH_LETTERS = 16


def engine_name(flavour: str, onnx_sha256: str) -> str:
    """What an engine's files are called, without their endings."""
    return f"{flavour}-{onnx_sha256[:_HASH_LETTERS]}"


def plan_path(folder: Path, flavour: str, onnx_sha256: str) -> Path:
    """The plan; its JSON has the same name with another ending."""
    return folder / f"{engine_name(flavour, onnx_sha256)}.plan"


def options_for(options: BuildOptions | None, flavour: Flavour, here: DeviceFacts) -> BuildOptions:
    """The options of an earlier engine, as far as they go with the GPU that is here.

    Args:
        options: ``None``: there was none.
        flavour: Which TensorRT.
        here: The GPU; one that is built ahead of time has to be told of it.
    """
    options = options or BuildOptions()
    if flavour.ahead_of_time:
        return msgspec.structs.replace(options, sm=tuple(sorted({*options.sm, here.sm})))
    if refuses_hardware(options.hardware, here):
        return msgspec.structs.replace(options, hardware="this")
    return options


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
        here: The GPU.
        wanted: Which graph.
    """
    options = options_for(options, flavour, here) if here is not None else options or BuildOptions()
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
        manifest = open_source(source)[0].manifest
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


def open_source(source: str | Path) -> tuple[EncoderBundle, int]:
    """The encoder of a bundle folder, or of a detector file.

    Returns:
        The encoder, and of a detector the patches of a layer in all of its good pictures; 0 for a folder.

    Raises:
        BundleError: It is neither.
        EncoderNotFoundError: The detector's encoder is not where it was.
    """
    path = Path(source)
    if not path.is_file():
        return EncoderBundle.open(path), 0
    detector = read_bundle(path)
    kept = [record.tokens[0] for record in detector.manifest.references if record.tokens]
    return locate_encoder(path, detector), sum(len(detector.arrays[name]) for name in kept)


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
