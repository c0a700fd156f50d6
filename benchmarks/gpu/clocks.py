"""What the GPU itself says of its clocks, power and heat, by ``nvidia-smi``; nothing is set.

A GPU that is too hot, or at the limit of its power, lowers its clock, and times taken meanwhile are not those
of another day. So its readings are kept from before, from after, and from once a second in between.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

SECONDS = 20
_FIELDS = {
    "index": "index",
    "uuid": "uuid",
    "name": "name",
    "driver": "driver_version",
    "sm_mhz": "clocks.sm",
    "sm_most_mhz": "clocks.max.sm",
    "memory_mhz": "clocks.mem",
    "power_w": "power.draw",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
    "slowed": "",
}
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""What newer drivers call it, and older ones."""
_TEXTS = ("index", "uuid", "name", "driver", "slowed")
SLOWED = {
    0x02: "application clocks are set",
    0x04: "the limit of its power",
    0x08: "the hardware slowed it down",
    0x10: "synchronized with other GPUs",
    0x20: "its temperature (software)",
    0x40: "its temperature (hardware)",
    0x80: "the power supply asked for less",
    0x100: "the display's clock",
}
"""Bits of NVML's reasons (``nvmlClocksThrottleReasons``); 0x01 is that it is idle."""
Reading = dict[str, Any]


@dataclass
class Clocks:
    """Readings of one GPU."""

    why_none: str = ""
    """Why there are no readings."""
    before: Reading | None = None
    after: Reading | None = None
    during: list[Reading] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """For the JSON: the readings in between as least, median and most."""
        return {**asdict(self), "during": self.range_of(), "slowed_by": self.slowed_by()}

    def slowed_by(self) -> list[str] | None:
        """Why the GPU was slower than it can be; ``None`` where it does not tell."""
        told = [bits for reading in self.during if (bits := _bits(reading["slowed"])) is not None]
        return [text for bit, text in SLOWED.items() if any(bits & bit for bits in told)] if told else None

    def range_of(self) -> dict[str, list[float]]:
        """Least and most of every number."""
        found = {}
        for name in _FIELDS:
            numbers = [entry[name] for entry in self.during if isinstance(entry.get(name), float)]
            if numbers:
                found[name] = [min(numbers), max(numbers)]
        return found


@contextmanager
def watched(gpu_name: str | None) -> Iterator[Clocks]:
    """Read the GPU's state before, after, and every second while the body runs.

    Args:
        gpu_name: As CUDA calls the GPU that is used.
    """
    clocks = Clocks()
    query, clocks.before, clocks.why_none = _find(gpu_name)
    if clocks.before is None:
        yield clocks
        return
    query = [*query, f"--id={clocks.before['index']}"]
    with tempfile.TemporaryFile() as readings:
        watcher = subprocess.Popen(
            [*query, "--loop=1"], stdout=readings, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        try:
            yield clocks
        finally:
            watcher.terminate()
            watcher.wait()
            readings.seek(0)
            clocks.during = _readings(readings.read())
            after = _ask(query)
            clocks.after = after[0] if after else None


def _find(gpu_name: str | None) -> tuple[list[str], Reading | None, str]:
    """How to ask for the GPU's readings, what they are, or why there are none."""
    if gpu_name is None:
        return [], None, "there is no GPU"
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], None, "nvidia-smi is not there"
    queries = [_query(program, reasons) for reasons in _REASONS]
    query, all_found = next(((query, found) for query in queries if (found := _ask(query))), (queries[0], []))
    # On a Jetson the two call the one GPU by different names.
    found = [reading for reading in all_found if reading["name"] == gpu_name or len(all_found) == 1]
    if not found:
        return [], None, f"nvidia-smi says nothing of {gpu_name}"
    if len(found) > 1:
        # CUDA's first need not be nvidia-smi's first.
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
        found = [reading for reading in found if chosen and reading["uuid"].startswith(chosen)]
        if len(found) != 1:
            why = "there are several GPUs of that name; CUDA_VISIBLE_DEVICES=GPU-... would say which is used"
            return [], None, why
    return query, found[0], ""


def _query(program: str, reasons: str) -> list[str]:
    fields = ",".join(field or reasons for field in _FIELDS.values())
    return [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]


def _ask(query: Sequence[str]) -> list[Reading]:
    try:
        done = subprocess.run(query, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return _readings(done.stdout) if done.returncode == 0 else []


def _readings(output: bytes) -> list[Reading]:
    lines = output.decode(errors="replace").splitlines()
    return [found for line in lines if (found := _reading(line)) is not None]


def _reading(line: str) -> Reading | None:
    """A line of numbers and words; what the GPU does not tell (``[N/A]``) is left out."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(_FIELDS):
        return None
    found: Reading = {}
    for name, cell in zip(_FIELDS, cells, strict=True):
        if name in _TEXTS:
            found[name] = cell
            continue
        try:
            found[name] = float(cell)
        except ValueError:
            continue
    return found


def _bits(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None
