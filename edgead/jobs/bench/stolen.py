"""What a virtual machine's host takes away: cores that stood still while a clock went on."""

from __future__ import annotations

from pathlib import Path

from edgead.jobs.bench.machine import ROOT

_STEAL = 7
"""Where the kernel puts it in the line of all cores; what follows is counted among the fields before it."""


class StolenTime:
    """Counts from its making, over all cores of the machine."""

    def __init__(self, root: Path = ROOT) -> None:
        """Start counting.

        Args:
            root: Where /proc is; another folder in tests.
        """
        self._file = root / "proc/stat"
        self._first = self._ticks()

    def share(self) -> float | None:
        """Of the cores' time since the start, how much the host gave to others: 0 to 1.

        ``None`` where the kernel does not tell, or no time has passed by its clock (a hundredth of a second).
        """
        now = self._ticks()
        if now is None or self._first is None:
            return None
        passed = [after - before for after, before in zip(now, self._first, strict=True)]
        return passed[_STEAL] / sum(passed) if sum(passed) > 0 else None

    def _ticks(self) -> list[int] | None:
        try:
            fields = self._file.read_text(encoding="ascii").split("\n", 1)[0].split()
        except (OSError, UnicodeDecodeError):
            return None
        counted = fields[1 : _STEAL + 2]
        if fields[:1] != ["cpu"] or len(counted) <= _STEAL or not all(each.isdecimal() for each in counted):
            return None
        return [int(each) for each in counted]
