"""The doctor's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from edgead_runtime.doctor.findings import Finding
from edgead_runtime.doctor.machine import MachineFacts
from edgead_runtime.doctor.probe import Probed
from edgead_runtime.tensorrt.capability import precisions_of

_ENGINE_PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}


def lines_of(machine: MachineFacts, findings: Sequence[Finding]) -> list[str]:
    """A page for a person: the answer first, then why, then what to do."""
    return [
        _answer(machine),
        "",
        "This machine",
        *(f"  {name:<10} {text}" for name, text in _facts(machine)),
        "",
        "Engines (each was started and given something to compute)",
        *(_engine(probed, machine) for probed in machine.engines),
        *_to_do("To mend", [finding for finding in findings if finding.kind == "problem"]),
        *_to_do("Could be better", [finding for finding in findings if finding.kind == "hint"]),
    ]


def as_json(machine: MachineFacts, findings: Sequence[Finding]) -> dict[str, Any]:
    """The same for a program."""
    return {
        "runs": any(probed.status == "runs" for probed in machine.engines),
        "machine": msgspec.to_builtins(machine),
        "tensorrt_precisions": [] if machine.gpu is None else list(precisions_of(machine.gpu.sm)),
        "findings": msgspec.to_builtins(list(findings)),
    }


def _answer(machine: MachineFacts) -> str:
    devices = {probed.device for probed in machine.engines if probed.status == "runs"}
    if "cuda" in devices and machine.gpu is not None:
        return f"Detectors run here on the GPU ({machine.gpu.name}) and on the processor."
    if devices:
        gpu = "there is no NVIDIA GPU" if not machine.nvidia_card else "the NVIDIA GPU cannot be used yet"
        return f"Detectors run here on the processor; {gpu}."
    return "No detector can run here yet."


def _facts(machine: MachineFacts) -> list[tuple[str, str]]:
    memory = "" if machine.memory_mb is None else f", {machine.memory_mb / 1024:.0f} GB of memory"
    fast = f"; {', '.join(machine.instructions)}" if machine.instructions else ""
    found = [
        ("System", f"{machine.system}, {machine.architecture}"),
        ("Python", f"{machine.python}, edgead-runtime {machine.edgead_runtime}"),
        ("Processor", f"{machine.cpu}, {machine.cores} cores{memory}{fast}"),
    ]
    if machine.board:
        jetpack = f" (JetPack {machine.jetpack}, L4T {machine.l4t})" if machine.l4t else ""
        found.append(("Board", machine.board + jetpack))
    found.append(("GPU", _gpu(machine)))
    others = [f"{name} {version}" for name, version in machine.packages.items()]
    found.append(("Packages", ", ".join(others)))
    return found


def _gpu(machine: MachineFacts) -> str:
    if machine.gpu is not None:
        gpu = machine.gpu
        return (
            f"{gpu.name}, compute capability {gpu.sm / 10:.1f}, {gpu.memory_mb / 1024:.0f} GB, "
            f"driver for CUDA up to {gpu.cuda}; TensorRT in {', '.join(precisions_of(gpu.sm))}"
        )
    if machine.nvidia_driver:
        return f"NVIDIA driver {machine.nvidia_driver}, but {machine.gpu_problem}"
    return "an NVIDIA card without a driver" if machine.nvidia_card else "none by NVIDIA"


def _engine(probed: Probed, machine: MachineFacts) -> str:
    names = _ENGINE_PACKAGES.get(probed.engine, (probed.engine,))
    version = next((machine.packages[name] for name in names if name in machine.packages), "")
    if probed.status == "runs":
        return f"  yes  {probed.name:<28} {version}".rstrip()
    no_gpu = probed.device == "cuda" and machine.gpu is None and not machine.nvidia_card
    reason = "needs an NVIDIA GPU" if no_gpu else probed.reason
    if probed.status == "builds":
        reason += "; engines for other machines can be built here"
    return f"  no   {probed.name:<28} {reason}"


def _to_do(title: str, findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    lines = ["", title]
    for finding in findings:
        lines += [f"  - {finding.what}", f"    {finding.do}"]
    return lines
