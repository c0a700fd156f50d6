"""Which processor this is, and how much of it is ours."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def cpu_name(root: Path = _ROOT) -> str:
    """The processor, as its maker calls it where that can be found out.

    Args:
        root: Where /proc is; another folder in tests.
    """
    names = (value for name, value in _cpuinfo(root) if name in ("model name", "Hardware", "CPU part"))
    return next(names, "") or platform.processor() or platform.machine()


def cpu_flags(root: Path = _ROOT) -> frozenset[str]:
    """The processor's instructions in /proc/cpuinfo's names; none where that is not to be had.

    Args:
        root: Where /proc is; another folder in tests.
    """
    flags = (value for name, value in _cpuinfo(root) if name in ("flags", "Features"))
    return frozenset(next(flags, "").split())


def usable_cores() -> int:
    """Cores that this process may run on."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def _cpuinfo(root: Path) -> Iterator[tuple[str, str]]:
    """Names and values, those of the first core first."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()
