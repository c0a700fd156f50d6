"""What the facts of a machine mean: what is wrong, what could be better, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from edgead_runtime.doctor.machine import MachineFacts

_OLDEST_TENSORRT = (10, 3)
_PYTHONS = ((3, 10), (3, 13))


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing, and what to do."""

    kind: Literal["problem", "hint"]
    """``problem``: something that is installed or expected does not work."""
    what: str
    do: str


def judge(machine: MachineFacts) -> list[Finding]:
    """Everything that is to be said, the most important first."""
    found = [*_basics(machine), *_clashes(machine), *_gpu(machine), *_engines(machine)]
    return sorted(found, key=lambda finding: finding.kind != "problem")


def _problem(what: str, do: str) -> Finding:
    return Finding(kind="problem", what=what, do=do)


def _hint(what: str, do: str) -> Finding:
    return Finding(kind="hint", what=what, do=do)


def _basics(machine: MachineFacts) -> Iterator[Finding]:
    extra = _extra(machine)
    if not any(probed.status == "runs" for probed in machine.engines):
        yield _problem("No engine runs here, so no detector can.", f'pip install "edgead-runtime[{extra}]"')
    oldest, newest = _PYTHONS
    if not oldest <= _numbers(machine.python)[:2] <= newest:
        yield _hint(
            f"Python {machine.python} is none that edgead is tested with.", "Use Python 3.10 to 3.13."
        )
    if machine.architecture == "x86_64" and machine.instructions and "AVX2" not in machine.instructions:
        yield _hint("The processor has no AVX2: a frame takes several times as long.", "Use a newer one.")


def _clashes(machine: MachineFacts) -> Iterator[Finding]:
    have = machine.packages
    if {"onnxruntime", "onnxruntime-gpu"} <= have.keys():
        yield _problem(
            "onnxruntime and onnxruntime-gpu are both installed; they are the same files, and one has "
            "overwritten the other.",
            "pip uninstall onnxruntime onnxruntime-gpu, then install the one you want",
        )
    if {"opencv-python", "opencv-python-headless"} <= have.keys():
        yield _problem(
            "opencv-python and opencv-python-headless are both installed; they are the same files.",
            "pip uninstall opencv-python opencv-python-headless, then install the one you want",
        )
    tensorrt = have.get("tensorrt")
    if tensorrt and _numbers(tensorrt)[:2] < _OLDEST_TENSORRT:
        yield _problem(
            f"TensorRT {tensorrt} is too old; engines need 10.3.",
            "On a Jetson, JetPack 6.1 or newer has it; elsewhere: pip install --upgrade tensorrt",
        )
    bindings, gpu = have.get("cuda-bindings"), machine.gpu
    if bindings and gpu is not None and _numbers(bindings)[0] > _numbers(gpu.cuda)[0]:
        yield _problem(
            f"cuda-bindings {bindings} is newer than the driver, which knows CUDA up to {gpu.cuda}.",
            f'pip install "cuda-bindings<{_numbers(gpu.cuda)[0] + 1}"',
        )


def _gpu(machine: MachineFacts) -> Iterator[Finding]:
    if not machine.nvidia_card and machine.gpu is None:
        return
    if machine.jetpack and int(machine.jetpack) < 6:
        yield _problem(
            f"JetPack {machine.jetpack} (L4T {machine.l4t}) has a TensorRT that is too old.",
            "Flash JetPack 6.1 or newer; until then detectors run on the processor.",
        )
        return
    if any(probed.status == "runs" and probed.device == "cuda" for probed in machine.engines):
        return
    if machine.gpu is None:
        if not (machine.nvidia_driver or machine.l4t):
            yield _problem(
                "There is an NVIDIA card and no driver for it.", "Install NVIDIA's driver, and start again."
            )
        elif not {"cuda-bindings", "pycuda"} & machine.packages.keys():
            yield _problem(
                "There is an NVIDIA GPU, and nothing here to reach it with.",
                'pip install "cuda-bindings<13"' if machine.jetpack == "6" else "pip install cuda-bindings",
            )
        else:
            yield _problem(
                f"The NVIDIA driver is loaded, but {machine.gpu_problem}.",
                "In a container, start it with the GPU (--gpus all, or --runtime nvidia on a Jetson); "
                "otherwise look at the kernel's messages for 'nvidia'.",
            )
        return
    missing = {probed.engine for probed in machine.engines if probed.status == "missing"}
    if "tensorrt" in missing:
        yield _problem(
            f"{machine.gpu.name} is there, but no engine runs on it: TensorRT is not installed.",
            _tensorrt_on(machine),
        )


def _tensorrt_on(machine: MachineFacts) -> str:
    if not machine.l4t:
        return 'pip install tensorrt "edgead-runtime[tensorrt]"'
    if machine.virtual_environment:
        return (
            "JetPack has it outside of this virtual environment: make one with --system-site-packages "
            "(and sudo apt install nvidia-jetpack, if it is not there either)"
        )
    return "sudo apt install nvidia-jetpack"


def _engines(machine: MachineFacts) -> Iterator[Finding]:
    """Installed, and does not run, where that is not for want of a GPU."""
    has_gpu = machine.gpu is not None
    for probed in machine.engines:
        if probed.status != "fails" or probed.precision != "fp32":
            continue
        if probed.device == "cuda" and (not has_gpu or "no CUDAExecutionProvider" in probed.reason):
            continue
        yield _problem(f"{probed.name} is installed and does not run: {probed.reason}.", probed.remedy)
    ours = {(probed.engine, probed.precision): probed.status for probed in machine.engines}
    if machine.architecture == "x86_64" and ours.get(("openvino", "fp32")) == "missing":
        yield _hint(
            "OpenVINO is usually the faster engine on this kind of processor, and is not installed.",
            'pip install "edgead-runtime[openvino]"; the default engine "auto" then measures both',
        )
    if ours.get(("openvino", "bf16")) == "runs":
        yield _hint(
            "This processor computes in bfloat16: faster, and most scores change by less than a percent.",
            'To try it: --engine openvino --precision bf16; in Python engine="openvino", precision="bf16"',
        )


def _extra(machine: MachineFacts) -> str:
    return "openvino" if machine.architecture == "x86_64" and "Intel" in machine.cpu else "cpu"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)) or (0,)
