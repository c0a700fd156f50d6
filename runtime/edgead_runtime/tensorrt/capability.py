"""Which precisions a GPU has kernels for, so that nobody waits for TensorRT to say no."""

from __future__ import annotations

from collections.abc import Sequence

from edgead_runtime.errors import EngineBuildError
from edgead_runtime.manifest import PRECISIONS, Precision
from edgead_runtime.tensorrt.options import BuildOptions

LEAST: dict[Precision, int] = {"bf16": 80, "fp8": 89}
"""Compute capability from which on there are products in a precision (NVIDIA, TensorRT support matrix): bf16
from Ampere on, fp8 from Ada and Hopper on. A Jetson Orin has 8.7 and therefore no fp8."""
_AMPERE = 80


def precisions_of(capability: int) -> tuple[Precision, ...]:
    """What engines can be built in for a GPU of this compute capability."""
    return tuple(name for name in PRECISIONS if capability >= LEAST.get(name, 0))


def check_capability(precision: Precision, options: BuildOptions, here: int | None = None) -> None:
    """Refuse a precision that one of the GPUs which the engine is for has not.

    Args:
        precision: Of the ONNX file.
        options: ``sm`` and ``hardware`` say for which GPUs.
        here: Compute capability of the GPU that is here, where the engine is built for it.

    Raises:
        EngineBuildError: With the precisions to take instead.
    """
    least = LEAST.get(precision, 0)
    targets: Sequence[int] = options.sm if here is None else (here,)
    if here is not None and options.hardware == "ampere-plus":
        targets = (_AMPERE, here)
    without = [target for target in targets if target < least]
    if not without:
        return
    have = ", ".join(f"{target / 10:.1f}" for target in without)
    others = [str(target) for target in targets if target >= least]
    apart = ""
    if others:
        apart = (
            ", or leave out --hardware"
            if here is not None
            else f", or build {precision} for --sm {' '.join(others)} alone"
        )
    raise EngineBuildError(
        f"GPUs of compute capability {have} have no {precision}, which begins at {least / 10:.1f}",
        f"Take {_instead(min(without))}{apart}.",
    )


def _instead(capability: int) -> str:
    *others, last = (name for name in precisions_of(capability) if name != "fp32")
    return f"{', '.join(others)} or {last}"
