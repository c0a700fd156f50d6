"""What to know before the figures of a run are believed, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgead.jobs.bench.machine import Machine
from edgead.jobs.bench.statistics import spread
from edgead.wording import count_of

_ENOUGH_FOR_P99 = 100
_WIDE = 1.5
"""p95 over p50 from which the times are called uneven; a quiet machine stays below 1.1."""
_DRIFT = 1.15
_DRIFT_FRAMES = 40
_SLOW_GOVERNORS = ("powersave", "conservative", "ondemand")
_GROWTH_MB = 50
MUCH_STOLEN = 0.03
"""Of the cores' time. A frame on two cores is then about a twentieth slower: each waits for the other."""


def remarks(
    machine: Machine, totals_ms: Sequence[float], growth_mb: float | None, stolen_share: float | None = None
) -> list[str]:
    """Sentences about what makes the figures doubtful; empty where nothing does.

    Args:
        machine: As it was before the run.
        totals_ms: Every timed frame in its order.
        growth_mb: What the process grew by during the timed frames.
        stolen_share: Of the cores' time, what the machine's host took meanwhile.
    """
    found = []
    if stolen_share is not None and stolen_share > MUCH_STOLEN:
        found.append(
            f"This is a virtual machine, and its host gave {stolen_share:.0%} of its cores' time to others "
            "while it was measured. Frames wait for the slower core, so they lost more than that; run it "
            "again, or trust ratios measured in turns (--compare)."
        )
    if machine.load is not None and machine.load > machine.usable_cores:
        found.append(
            f"The machine was busy before the run: a load of {machine.load:.1f} on "
            f"{machine.usable_cores:g} usable cores. Run it again when nothing else runs."
        )
    times = spread(totals_ms)
    if times.p95_ms > _WIDE * times.p50_ms:
        found.append(
            f"The times are uneven: one frame in twenty took more than {times.p95_ms / times.p50_ms:.1f} "
            "times the median. Something else may have run; trust ratios measured in turns (--compare), not "
            "these milliseconds."
        )
    if len(totals_ms) < _ENOUGH_FOR_P99:
        found.append(f"The p99 of {count_of(len(totals_ms), 'frame')} is little more than their slowest.")
    drift = _drift(totals_ms)
    if drift > _DRIFT:
        found.append(
            f"It became slower while it ran: the last quarter took {drift:.2f} times as long as the first. "
            "The processor may have grown hot, or something else started."
        )
    if machine.governor in _SLOW_GOVERNORS:
        found.append(
            f"The governor is '{machine.governor}', which lowers the clock between frames; "
            "'performance' gives steadier times."
        )
    if growth_mb is not None and growth_mb > _GROWTH_MB:
        found.append(f"The process grew by {growth_mb:.0f} MB while it ran.")
    return found


def _drift(totals_ms: Sequence[float]) -> float:
    """Median of the last quarter over that of the first; 1 where the frames are few."""
    if len(totals_ms) < _DRIFT_FRAMES:
        return 1.0
    quarter = len(totals_ms) // 4
    return float(np.median(totals_ms[-quarter:]) / np.median(totals_ms[:quarter]))


def temperature_remark(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """How warm it became, e.g. ``cpu-thermal 48 to 61 C``; empty where no sensor is known."""
    return ", ".join(f"{name} {before[name]:.0f} to {after[name]:.0f} C" for name in before if name in after)
