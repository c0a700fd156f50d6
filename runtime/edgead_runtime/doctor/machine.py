"""Facts of this machine. What cannot be found out is left empty."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import msgspec

from edgead_runtime._version import __version__
from edgead_runtime.cores import cpu_flags, cpu_name, usable_cores
from edgead_runtime.doctor.probe import Probed, probe_all
from edgead_runtime.errors import EdgeadError
from edgead_runtime.installed import version_of
from edgead_runtime.tensorrt.device import open_device

ROOT = Path("/")
PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "cuda-bindings",
    "pycuda",
)
INSTRUCTIONS = {
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "NEON": {"asimd"},
    "int8 dot products": {"avx512_vnni", "avx_vnni", "asimddp"},
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "AMX": {"amx_tile"},
}
"""What makes a matrix product fast, and how /proc/cpuinfo calls it."""
_JETPACKS = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7"}
"""By L4T's number."""


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The NVIDIA GPU as CUDA sees it."""

    name: str
    sm: int
    cuda: str
    """The newest that the driver knows."""
    memory_mb: int


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the findings are made from."""

    edgead_runtime: str
    system: str
    architecture: str
    python: str
    cpu: str
    cores: int
    instructions: tuple[str, ...]
    memory_mb: int | None
    board: str
    """What an ARM board calls itself."""
    l4t: str
    """Linux for Tegra, e.g. ``36.4.0``; on a Jetson alone."""
    jetpack: str
    """Its major version."""
    nvidia_driver: str
    """The kernel module's version, where it is loaded."""
    nvidia_card: bool
    """Whether there is a card by NVIDIA, with a driver or without."""
    gpu: GpuFacts | None
    gpu_problem: str
    """Why CUDA has none."""
    packages: dict[str, str]
    virtual_environment: bool
    engines: tuple[Probed, ...]


def examine(root: Path = ROOT) -> MachineFacts:
    """Look at this machine; takes some seconds, since every engine is started.

    Args:
        root: Where /proc, /sys and /etc are; another folder in tests.
    """
    l4t = _l4t(root)
    gpu, gpu_problem = _gpu()
    memory = re.search(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"))
    driver = re.search(r"Kernel Module.*?(\d+\.[\d.]+)", _text(root / "proc/driver/nvidia/version"))
    return MachineFacts(
        edgead_runtime=__version__,
        system=_system(root),
        architecture=platform.machine(),
        python=platform.python_version(),
        cpu=cpu_name(root),
        cores=usable_cores(),
        instructions=_instructions(cpu_flags(root)),
        memory_mb=int(memory[1]) // 1024 if memory else None,
        board=_text(root / "proc/device-tree/model").strip("\0"),
        l4t=l4t,
        jetpack=_JETPACKS.get(l4t.partition(".")[0], ""),
        nvidia_driver=driver[1] if driver else "",
        nvidia_card=bool(l4t) or _has_card(root),
        gpu=gpu,
        gpu_problem=gpu_problem,
        packages={name: found for name in PACKAGES if (found := version_of(name))},
        virtual_environment=sys.prefix != sys.base_prefix,
        engines=tuple(probe_all()),
    )


def _gpu() -> tuple[GpuFacts | None, str]:
    try:
        found = open_device().facts()
    except EdgeadError as error:
        return None, error.problem
    return (
        GpuFacts(name=found.name, sm=found.sm, cuda=found.driver, memory_mb=found.memory_bytes >> 20),
        "",
    )


def _l4t(root: Path) -> str:
    """From ``# R36 (release), REVISION: 4.0, ...``."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release"))
    return f"{found[1]}.{found[2]}" if found else ""


def _has_card(root: Path) -> bool:
    return any(
        _text(device / "vendor") == "0x10de" and _text(device / "class").startswith("0x03")
        for device in (root / "sys/bus/pci/devices").glob("*")
    )


def _instructions(flags: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name, any_of in INSTRUCTIONS.items() if flags & any_of)


def _system(root: Path) -> str:
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', _text(root / "etc/os-release"), re.MULTILINE)
    return f"{name[1]}, Linux {platform.release()}" if name else platform.platform()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
