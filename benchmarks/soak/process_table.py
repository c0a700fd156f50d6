"""What processes have in memory and keep open, from ``/proc``: Linux alone."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PROC = Path("/proc")


def resident_mb(process: int) -> float:
    """Resident memory of a process, shared pages included; 0 where it has ended."""
    try:
        return int((_PROC / str(process) / "statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
    except (OSError, IndexError):
        return 0.0


def descendants(process: int) -> list[int]:
    """Children of a process, their children, and so on."""
    found: list[int] = []
    for path in (_PROC / str(process) / "task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:  # the thread has ended meanwhile
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def threads(process: int) -> int:
    """Threads of a process, those of libraries included."""
    return sum(1 for _ in (_PROC / str(process) / "task").iterdir())


def open_files(process: int) -> int:
    """Descriptors that it holds."""
    return sum(1 for _ in (_PROC / str(process) / "fd").iterdir())
