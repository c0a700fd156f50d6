"""What is kept of an engine that was built and did not pass its parity gate, so that it is not built again.

Building takes minutes, and a loop that is started again by its service would spend them at every start. The
record has the engine's own form, with ``parity.passed`` false and no plan beside it. It holds for one ONNX
file, GPU, TensorRT and way of building; where one of these changes, the engine is given another chance, and
so it is by ``edgead-runtime build``.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from edgead_runtime.errors import BundleError
from edgead_runtime.files import sha256_bytes, write_atomic
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.places import folders_of
from edgead_runtime.tensorrt.record import EngineRecord, decode_record, encode_record
from edgead_runtime.tensorrt.store import engine_name

_KEY_LETTERS = 8


def remember_failure(folder: Path, record: EngineRecord) -> Path:
    """Write down that an engine failed; the file's path.

    Raises:
        OutputError: It cannot be written.
    """
    path = _path(folder, record)
    write_atomic(path, encode_record(record))
    return path


def forget_failure(source: str | None, record: EngineRecord) -> None:
    """An engine that was built in the same way has passed."""
    for folder in folders_of(source):
        with contextlib.suppress(OSError):
            _path(folder, record).unlink(missing_ok=True)


def failed_here(
    source: str | None,
    flavour: str,
    onnx_sha256: str,
    tensorrt: str,
    here: DeviceFacts,
    options: BuildOptions | None,
) -> tuple[Path, EngineRecord] | None:
    """The latest record of an engine that failed on this machine; ``None``: there is none.

    Args:
        source: The encoder bundle.
        flavour: Which TensorRT.
        onnx_sha256: Of the ONNX file.
        tensorrt: Its version.
        here: The GPU.
        options: How it would be built now; ``None``: nothing is known of that, and any way counts.
    """
    found = []
    for folder in folders_of(source):
        for path in folder.glob(f"failed-{engine_name(flavour, onnx_sha256)}-*.json"):
            try:
                record = decode_record(path.read_bytes(), str(path))
            except (OSError, BundleError):
                continue
            gpu = record.gpu
            same_machine = (
                gpu is not None
                and (gpu.name, gpu.sm) == (here.name, here.sm)
                and (record.tensorrt, record.onnx_sha256) == (tensorrt, onnx_sha256)
            )
            if same_machine and options in (None, record.options):
                found.append((path, record))
    return max(found, key=lambda one: one[1].created, default=None)


def _path(folder: Path, record: EngineRecord) -> Path:
    """Machines that share a folder have a file each."""
    gpu = None if record.gpu is None else (record.gpu.name, record.gpu.sm)
    key = sha256_bytes(msgspec.json.encode((record.options, gpu, record.tensorrt)))[:_KEY_LETTERS]
    return folder / f"failed-{engine_name(record.flavour, record.onnx_sha256)}-{key}.json"
