"""Which processor this is, and how much of it is ours."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_name(root: Path = Path("/")) -> str:
    """The processor, as its maker calls it where that can be found out.

    Args:
        root: Where /proc is; another folder in tests.
    """
    try:
        for line in (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Hardware", "CPU part")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1
