"""What a precision means for a bundle: which of its files, and how engines may compute it."""

from __future__ import annotations

from dataclasses import dataclass

from edgead_runtime.engines import BF16, ENGINES, pinned_or
from edgead_runtime.engines.protocol import EnginePrecision
from edgead_runtime.errors import EngineUnavailableError
from edgead_runtime.manifest import EncoderFile, EncoderManifest, Precision

_IN_BF16 = "openvino"
"""The one engine that can."""
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

    ``int8`` and ``fp16`` are files of their own. ``bf16`` is the fp32 file, computed so. The int8 file's
    float32 part is computed in bfloat16 where that combination passed the gate and the processor has it.

    ``auto`` runs a file of its own only in engines in which it passed. One in which nobody judged it can be
    had by its name, with a remark.

    Args:
        manifest: Of the encoder.
        precision: What is asked for.
        engine: A name, or ``auto``.

    Raises:
        BundleError: The bundle has no such file.
        EngineUnavailableError: The precision did not pass the gate in this engine.
    """
    file = manifest.file("fp32" if precision == "bf16" else precision)
    if precision == "fp32":
        return ExecutionPlan(file, "fp32", rest_in_bf16=False, without=())
    in_bf16 = _IN_BF16 + BF16
    named = pinned_or(engine)
    judged = {_PORTABLE: True, **file.judged}
    unjudged: set[str] = set()
    if precision == "bf16":
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
        engine_precision="fp32" if precision == "fp16" else precision,
        rest_in_bf16=precision == "int8" and file.judged.get(in_bf16, False),
        without=tuple(sorted(failed | unjudged if named == "auto" else failed)),
        remarks=(_not_judged(precision, named),) if named in unjudged else (),
    )


def _not_judged(precision: Precision, engine: str) -> str:
    return (
        f"Nobody has judged the {precision} file in {engine}, which was not there when it was exported. "
        f"`edgead verify --precision {precision} --engine {engine}` does."
    )
