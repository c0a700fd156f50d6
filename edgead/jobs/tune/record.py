"""What a tuning found, as the file it leaves."""

from __future__ import annotations

from pathlib import Path

import msgspec
from edgead_runtime.files import write_atomic

from edgead.jobs.bench.machine import Machine
from edgead.jobs.bench.statistics import Spread
from edgead.jobs.tune.fidelity import Fidelity

SCHEMA_VERSION = 1
KIND = "edgead-tune"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting."""

    name: str
    engine: str
    precision: str
    input_wh: tuple[int, int]
    encoder: str
    """Fingerprint."""
    times: Spread
    """Of a frame in memory to score and map."""
    fidelity: Fidelity
    """To the full setting."""
    holds: bool
    """Whether p99 is within the budget."""
    on_front: bool
    """Whether no other setting is both faster and closer to the full one."""
    stored: bool
    """Whether it is in the detector's file now."""
    frames_ms: list[float]


class CascadeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A small look first, and the full one where that leaves a doubt. Not for a budget."""

    name: str
    low: float
    high: float
    good_pictures: int
    second_looks_good: float
    """Share of the good pictures that needed both."""
    second_looks_defective: float
    tried: int
    """Drawn defects that the full setting finds and that had no part in choosing the band."""
    missed: int
    """How many of them would pass."""
    usual_ms: float
    """Mean time of a good picture: one look, or two."""
    full_usual_ms: float
    worst_ms: float
    """p99 of the frames that take both looks."""
    fidelity: Fidelity
    stored: bool
    """Whether it is in the detector's file now: only where a good picture takes less than without it."""


class Tune(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``edgead tune`` found out."""

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    created: str
    edgead: str
    detector: str
    budget_ms: float
    machine: Machine
    frame_wh: tuple[int, int]
    timed_frames: int
    good_pictures: int
    """That fidelity was measured on, each left out of the bank; 0 where there is only one."""
    drawn_defects: int
    rows: list[Row]
    """The full setting first."""
    chosen: str
    """The most faithful that holds the budget; the fastest where none does."""
    holds: bool
    cascade: CascadeRow | None
    remarks: list[str]


def write_tune(path: Path, tune: Tune) -> None:
    """Write the file.

    Raises:
        OutputError: It cannot be written.
    """
    write_atomic(path, msgspec.json.format(msgspec.json.encode(tune), indent=1) + b"\n")
