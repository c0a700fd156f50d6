"""The JSON beside an engine: what it was built from, by what and for what."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgead_runtime.errors import BundleError
from edgead_runtime.json_text import UNREADABLE
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.options import BuildOptions

SCHEMA_VERSION = 1
GraphName = Literal["encoder", "frame", "search"]
_AMPERE = 80


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """The GPU it was built on."""

    name: str
    sm: int
    driver: str


class EngineParity(msgspec.Struct, frozen=True, kw_only=True):
    """How far the engine is from ONNX Runtime in fp32, on the machine it was built on."""

    pictures: int
    cosine_min: float
    rank_correlation_min: float
    passed: bool


class EngineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides whether an engine may be used here."""

    schema_version: int
    kind: Literal["edgead-tensorrt-engine"]
    flavour: str
    graph: GraphName
    precision: str
    tensorrt: str
    """Version that built it."""
    gpu: Gpu | None
    """``None`` for an engine built ahead of time."""
    onnx_sha256: str
    plan_sha256: str
    plan_bytes: int
    options: BuildOptions
    rebuild: str
    """The command that builds it again."""
    created: str
    seconds: float
    parity: EngineParity | None
    """``None``: it has not been compared with anything."""

    def mismatches(self, onnx_sha256: str, tensorrt: str, here: DeviceFacts) -> list[str]:
        """Why the engine cannot be used here; nothing where it can."""
        found = []
        if self.onnx_sha256 != onnx_sha256:
            found.append("it was built from another ONNX file")
        if not _version_fits(self.tensorrt, tensorrt, lasting=self.options.version_compatible):
            found.append(f"it was built by TensorRT {self.tensorrt}, here is {tensorrt}")
        if self.gpu is None:
            if here.sm not in self.options.sm:
                targets = ", ".join(map(str, self.options.sm))
                found.append(
                    f"it was built for compute capability {targets}, here is {here.sm} ({here.name})"
                )
        elif not self._gpu_fits(self.gpu, here):
            found.append(
                f"it was built on {self.gpu.name} (compute capability {self.gpu.sm}), here is "
                f"{here.name} ({here.sm})"
            )
        return found

    def _gpu_fits(self, built_on: Gpu, here: DeviceFacts) -> bool:
        if self.options.hardware == "ampere-plus":
            return here.sm >= _AMPERE and not here.integrated
        if self.options.hardware == "same-capability":
            return here.sm == built_on.sm
        # TensorRT lets another model of the same generation pass; its kernels were chosen for this one.
        return (here.name, here.sm) == (built_on.name, built_on.sm)


def _version_fits(built: str, here: str, *, lasting: bool) -> bool:
    if built == here:
        return True
    if not lasting:
        return False
    numbers = [tuple(int(part) for part in text.split(".")[:3] if part.isdigit()) for text in (built, here)]
    return numbers[0][0] == numbers[1][0] and numbers[0] <= numbers[1]


def encode_record(record: EngineRecord) -> bytes:
    """As indented JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decode_record(data: bytes, where: str) -> EngineRecord:
    """Read the JSON beside an engine.

    Raises:
        BundleError: It is damaged or of another version.
    """
    again = "Build the engine again with `edgead-runtime build`."
    try:
        record = msgspec.json.decode(data, type=EngineRecord)
    except UNREADABLE as error:
        raise BundleError(f"{where} is damaged or of another version ({error})", again) from error
    if record.schema_version != SCHEMA_VERSION:
        raise BundleError(f"{where} has schema version {record.schema_version}", again)
    return record
