"""What a precision means for a bundle: which of its files, and how engines may compute it."""

from __future__ import annotations

from dataclasses import dataclass

from edgead_runtime.engines import BF16, ENGINES, pinned_or
from edgead_runtime.engines.protocol import EnginePrecision
from edgead_runtime.errors import EngineUnavailableError
from edgead_runtime.manifest import EncoderFile, EncoderManifest, Precision

_IN_BF16 = "openvino"
"""The one engine that computes an fp32 file in bfloat16."""
_AS_THE_FILE_SAYS = ("tensorrt", "tensorrt-rtx")
"""Engines that compute in what the file is in, and so need one in bfloat16."""
_PORTABLE = "onnxruntime"
"""A file is not written unless it passed in this one."""


@dataclass(frozen=True)
class ExecutionPlan:
    """A precision, as a file and as options of an engine."""

    file: EncoderFile
    engine_precision: EnginePrecision
    rest_in_bf16: bool
    without: tuple[str, ...]
    """Engines in which it did not pass the gate; for ``auto`` also those in which it was not judged."""
    remarks: tuple[str, ...] = ()
    """What a person should know of how far it can be trusted."""


def plan_execution(manifest: EncoderManifest, precision: Precision, engine: str = "auto") -> ExecutionPlan:
    """How to run a bundle in a precision.

    ``int8``, ``fp8`` and ``fp16`` are files of their own. ``bf16`` is the fp32 file, computed so, and for
    TensorRT a file. The int8 file's float32 part is computed in bfloat16 where that combination passed the
    gate and the processor has it.

    ``auto`` runs a file of its own only in engines in which it passed. One in which nobody judged it can be
    had by its name, with a remark.

    Args:
        manifest: Of the encoder.
        precision: What is asked for.
        engine: A name, or ``auto``.

    Raises:
        BundleError: The bundle has no such file.
        EngineUnavailableError: The engine has not this precision, or it did not pass the gate there.
    """
    _check_has(engine, precision)
    named = pinned_or(engine)
    computed_so = precision == "bf16" and named not in _AS_THE_FILE_SAYS
    file = manifest.file("fp32" if computed_so else precision)
    if precision == "fp32":
        return ExecutionPlan(file, "fp32", rest_in_bf16=False, without=())
    in_bf16 = _IN_BF16 + BF16
    judged = {_PORTABLE: True, **file.judged}
    unjudged: set[str] = set()
    if computed_so:
        failed = {_IN_BF16} if file.judged.get(in_bf16) is False else set()
    else:
        failed = {way for way, passed in file.judged.items() if not passed}
        unjudged = {way for way in ENGINES if way not in judged}
    if engine in failed:
        raise EngineUnavailableError(
            f"{precision} did not pass the gate in {engine} when the encoder was exported",
            "Choose fp32 or another engine; `edgead verify` shows by how much.",
        )
    return ExecutionPlan(
        file=file,
        # Of a file in float16 or bfloat16 the engine need not know.
        engine_precision="fp32" if precision == "fp16" or file.precision == "bf16" else precision,
        rest_in_bf16=precision == "int8" and file.judged.get(in_bf16, False),
        without=tuple(sorted(failed | unjudged if named == "auto" else failed)),
        remarks=(_not_judged(precision, named),) if named in unjudged else (),
    )


def _check_has(engine: str, precision: Precision) -> None:
    """Refuse what an engine has not, with what to take instead; what ``auto`` can do is seen later."""
    spec = ENGINES.get(engine.removesuffix(BF16))
    if spec is None:
        return
    if precision == "fp8" and precision not in spec.precisions:
        raise EngineUnavailableError(
            f"{spec.name} does not compute in fp8, which is for GPUs",
            "Take --engine tensorrt on a GPU that has it (compute capability 8.9 or newer), or int8 or bf16.",
        )
    if precision == "bf16" and precision not in spec.precisions and spec.name not in _AS_THE_FILE_SAYS:
        raise EngineUnavailableError(
            f"{spec.name} does not compute in bf16",
            "Take --engine openvino on a processor, tensorrt on a GPU, or another precision.",
        )


def _not_judged(precision: Precision, engine: str) -> str:
    return (
        f"Nobody has judged the {precision} file in {engine}, which was not there when it was exported. "
        f"`edgead verify --precision {precision} --engine {engine}` does."
    )
