"""The JSON beside an engine: what it was built from, by what and for what."""

from __future__ import annotations

import platform
from typing import Literal

import msgspec

from edgead_runtime.errors import BundleError
from edgead_runtime.json_text import UNREADABLE
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.options import BuildOptions, Hardware

SCHEMA_VERSION = 1
GraphName = Literal["encoder", "frame", "search"]
_AMPERE = 80


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """The GPU it was built on."""

    name: str
    sm: int
    driver: str
    """The newest CUDA that its driver knew, e.g. ``12.6``."""


class EngineParity(msgspec.Struct, frozen=True, kw_only=True):
    """How far the engine is from ONNX Runtime in fp32, on the machine it was built on."""

    pictures: int
    cosine_min: float
    rank_correlation_min: float
    distance_error_max: float | None = None
    """Of a picture's distance map, as a share of it (root mean square); ``None`` in older records."""
    passed: bool

    def figures(self) -> str:
        """In words."""
        words = (
            f"patch cosine {self.cosine_min:.4f}, rank correlation of the distances "
            f"{self.rank_correlation_min:.4f}"
        )
        if self.distance_error_max is None:
            return words
        return f"{words}, distances off by {self.distance_error_max:.1%}"


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
    platform: str = ""
    """Operating system and processor, see :func:`this_platform`; empty for an engine built ahead of time,
    which may be used on others, and in older records."""

    def mismatches(self, onnx_sha256: str, tensorrt: str, here: DeviceFacts) -> list[str]:
        """Why the engine cannot be used here; nothing where it can.

        The ONNX file decides the precision too. With which options it was built does not matter, as long as
        they made it for this GPU and TensorRT.
        """
        found = []
        if self.onnx_sha256 != onnx_sha256:
            found.append("it was built from another ONNX file")
        if self.platform and self.platform != this_platform():
            found.append(f"it was built on {self.platform}, here is {this_platform()}")
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
        # Kernels of a newer CUDA may be in it, which an older driver does not know.
        if self.gpu is not None and _is_older(here.driver, self.gpu.driver):
            found.append(
                f"it was built with a driver for CUDA {self.gpu.driver}, here is one for {here.driver}"
            )
        return found

    def is_of_another_machine(self, here: DeviceFacts) -> bool:
        """Whether it may well be right where it was built: there is another GPU or system here."""
        if self.platform and self.platform != this_platform():
            return True
        return self.gpu is not None and not self._gpu_fits(self.gpu, here)

    def _gpu_fits(self, built_on: Gpu, here: DeviceFacts) -> bool:
        if self.options.hardware == "ampere-plus":
            return not refuses_hardware("ampere-plus", here)
        if self.options.hardware == "same-capability":
            return here.sm == built_on.sm
        # TensorRT lets another model of the same generation pass; its kernels were chosen for this one.
        return (here.name, here.sm) == (built_on.name, built_on.sm)


def refuses_hardware(hardware: Hardware, here: DeviceFacts) -> bool:
    """Whether an engine that is built so could not run on this GPU."""
    return hardware == "ampere-plus" and (here.sm < _AMPERE or here.integrated)


def this_platform() -> str:
    """Operating system and processor, e.g. ``linux-aarch64``. TensorRT's engines are of one of them."""
    return f"{platform.system()}-{platform.machine()}".lower()


def _is_older(version: str, than: str) -> bool:
    """Of versions such as ``12.6``; what is none is not compared."""
    try:
        one, other = (tuple(map(int, text.split("."))) for text in (version, than))
    except ValueError:
        return False
    return one < other


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
