"""Where engines lie: in the encoder bundle's own ``engines`` folder, or in the cache.

An engine's name carries the start of its ONNX file's hash, so that another export never meets an old engine.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from edgead_runtime.cache import cache_dir
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import BundleError, EngineMismatchError, EngineUnavailableError
from edgead_runtime.files import output_error, sha256_bytes, write_atomic
from edgead_runtime.manifest import EncoderFile, FrameFile
from edgead_runtime.tensorrt.api import Flavour
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.record import EngineRecord, decode_record, encode_record

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
    precision: str = "fp32",
) -> str:
    """What to type for an engine that can be used here.

    Args:
        source: The encoder bundle.
        flavour: Which TensorRT.
        options: Of the engine that is to be replaced.
        here: The GPU; one that is built ahead of time has to be told of it.
        precision: Of the ONNX file.
    """
    options = options or BuildOptions()
    if here is not None and flavour.ahead_of_time:
        options = msgspec.structs.replace(options, sm=tuple(sorted({*options.sm, here.sm})))
    place = shlex.quote(source or "ENCODER")
    command = f"edgead-runtime build {place} --engine {flavour.name} {options.arguments()}".strip()
    return command if precision == "fp32" else f"{command} --precision {precision}"


def _precision_of(source: str | None, digest: str) -> str:
    """Of the file of a bundle with this hash."""
    if source is None or not Path(source).is_dir():
        return "fp32"
    manifest = EncoderBundle.open(source).manifest
    entries: list[EncoderFile | FrameFile] = [*manifest.files, *manifest.frames]
    return next((entry.precision for entry in entries if entry.sha256 == digest), "fp32")


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
    if path is None:
        raise EngineUnavailableError(
            f"no {flavour.name} engine was built for this graph",
            "Build it on this machine: "
            + rebuild_command(source, flavour, here=here, precision=_precision_of(source, digest)),
        )
    record = decode_record(_read(path.with_suffix(".json")), str(path.with_suffix(".json")))
    again = f"Build it again: {rebuild_command(source, flavour, record.options, here, record.precision)}"
    problems = record.mismatches(digest, tensorrt, here)
    if problems:
        raise EngineMismatchError(f"{path} cannot be used: {'; '.join(problems)}", again)
    if record.parity is not None and not record.parity.passed:
        raise EngineMismatchError(
            f"{path} cannot be used: it does not compute what the ONNX file computes (patch cosine "
            f"{record.parity.cosine_min:.4f})",
            "Export and build another precision, or use another TensorRT.",
        )
    plan = _read(path)
    if len(plan) != record.plan_bytes or sha256_bytes(plan) != record.plan_sha256:
        raise BundleError(f"{path} is damaged: it does not match the JSON beside it", again)
    return plan, record


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"cannot read {path}: {error.strerror or error}",
            "Build the engine again with `edgead-runtime build`.",
        ) from error
