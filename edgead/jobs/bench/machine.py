"""Facts of the machine that a time means nothing without. What cannot be found out is left empty."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import msgspec
from edgead_runtime import cores
from edgead_runtime.installed import version_of

ROOT = Path("/")
_FLAGS = (
    # x86
    "avx2", "fma", "f16c", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "amx_int8",
    # ARM
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
"""Instructions that decide how fast a matrix product is, in /proc/cpuinfo's names."""
_PACKAGES = (
    "edgead-runtime",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "pillow",
)
_VARIABLES = ("EDGEAD_ENGINE", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_VARIABLE_PREFIX = "OPENBLAS_"
_NVPMODEL_SECONDS = 5


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The computer, and how busy and how warm it is."""

    cpu: str
    flags: tuple[str, ...]
    """Instructions that matter to matrix products."""
    cores: int
    usable_cores: float
    """What this process may use: its affinity, or a container's share, whichever is less."""
    governor: str = ""
    load: float | None = None
    """Mean number of processes that wanted a core during the last minute, before anything was measured."""
    memory_mb: int | None = None
    available_mb: int | None = None
    board: str = ""
    """What an ARM board calls itself."""
    power_mode: str = ""
    """Jetson's, as ``nvpmodel -q`` says it."""
    temperatures_c: dict[str, float] = {}
    system: str
    python: str
    versions: dict[str, str]
    environment: dict[str, str]
    """Variables that choose instructions, threads or an engine."""


def describe_machine(root: Path = ROOT) -> Machine:
    """Look at this machine.

    Args:
        root: Where /proc and /sys are; another folder in tests.
    """
    flags, memory = cores.cpu_flags(root), _memory_mb(root)
    load = _text(root / "proc/loadavg").split()
    return Machine(
        cpu=cores.cpu_name(root),
        flags=tuple(flag for flag in _FLAGS if flag in flags),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(root),
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load=float(load[0]) if load else None,
        memory_mb=memory.get("MemTotal"),
        available_mb=memory.get("MemAvailable"),
        board=_text(root / "proc/device-tree/model").strip("\0"),
        power_mode=_power_mode(),
        temperatures_c=temperatures_c(root),
        system=platform.platform(),
        python=platform.python_version(),
        versions={name: found for name in _PACKAGES if (found := version_of(name))},
        environment={
            name: value
            for name, value in sorted(os.environ.items())
            if name in _VARIABLES or name.startswith(_VARIABLE_PREFIX)
        },
    )


def usable_cores(root: Path = ROOT) -> float:
    """Cores that this process may use at a time; a fraction where a container is given one."""
    allowed = float(cores.usable_cores())
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        allowed = min(allowed, int(quota) / int(period))
    return allowed


def temperatures_c(root: Path = ROOT) -> dict[str, float]:
    """Degrees Celsius of each sensor that the kernel names; those that are switched off are left out."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name, reading = _text(zone / "type"), _text(zone / "temp")
        if name and reading.lstrip("-").isdecimal() and int(reading) > 0:
            found[name] = int(reading) / 1000
    return found


def peak_memory_mb(root: Path = ROOT) -> float | None:
    """Largest resident size of this process; getrusage would count the parent's before the fork."""
    return _status_mb(root, "VmHWM")


def memory_mb(root: Path = ROOT) -> float | None:
    """Resident size of this process now."""
    return _status_mb(root, "VmRSS")


def _status_mb(root: Path, field: str) -> float | None:
    for line in _text(root / "proc/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return float(value.split()[0]) / 1024
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _memory_mb(root: Path) -> dict[str, int]:
    found = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if value.split()[:1] and value.split()[0].isdecimal():
            found[name] = int(value.split()[0]) // 1024
    return found


def _power_mode() -> str:
    tool = shutil.which("nvpmodel")
    if tool is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603  (Jetson's own tool, without arguments from outside)
            [tool, "-q"], capture_output=True, text=True, timeout=_NVPMODEL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " ".join(done.stdout.split())
