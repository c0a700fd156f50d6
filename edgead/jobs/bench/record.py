"""The file that a benchmark leaves, and reading it again, also on another machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
from edgead_runtime.errors import BundleError, EdgeadError, SchemaVersionError
from edgead_runtime.files import write_atomic
from edgead_runtime.json_text import UNREADABLE

from edgead.jobs.bench.machine import Machine
from edgead.jobs.bench.statistics import Ratio, Spread

SCHEMA_VERSION = 1
KIND = "edgead-bench"
TOTAL = "total"
STAGES = ("preprocess", "frame", "encode", "align", "mask", "search", "score", "map")
"""In the order in which they happen; a runtime that knows others has them listed after these."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured."""

    name: str
    """The detector's file, or the options that make it differ from the first."""
    detector_sha256: str
    encoder: str
    """Fingerprint."""
    backbone: str
    weights: str
    recipe: str
    engine: str
    """What really ran."""
    precision: str
    threads: int | None
    """``None`` where the engine chose."""
    input_wh: tuple[int, int]
    references: int
    patches: int
    """Rows that a frame's patches are compared with, of one layer; 0 where none are kept."""
    index: str = "exact"
    """How they are searched."""


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of one subject, one call after another."""

    subject: Subject
    stages: dict[str, Spread]
    frames_ms: dict[str, list[float]]
    """Every timed frame in its order, by stage and in total."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Another setting, measured in turns with the first."""

    measurement: Measurement
    ratio: Ratio
    """Its median over the first one's: above 1 it is slower."""


class Throughput(msgspec.Struct, frozen=True):
    """Frames a second with so many callers at once."""

    callers: int
    frames: int
    frames_per_second: float


class Start(msgspec.Struct, frozen=True):
    """A process that has nothing but the runtime, up to its first result."""

    import_s: float
    load_s: float
    first_frame_s: float
    total_s: float
    """From starting the process, the interpreter's own start included."""
    peak_mb: float | None
    """Largest resident size, after a few frames more."""


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``edgead bench`` found out."""

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    created: str
    edgead: str
    machine: Machine
    frame_wh: tuple[int, int]
    pictures: int
    warm_up: int
    measurement: Measurement
    throughput: list[Throughput]
    start: Start
    memory_growth_mb: float | None
    """Resident size after the timed frames less that before them, in the measuring process."""
    stolen_share: float | None = None
    """Of the cores' time while the frames were timed, how much a virtual machine's host took: 0 to 1."""
    temperatures_after_c: dict[str, float]
    remarks: list[str]
    """What to know before the figures are believed."""
    comparisons: list[Comparison] = []


class _Header(msgspec.Struct):
    schema_version: int
    kind: str


def write_bench(path: Path, bench: Bench) -> None:
    """Write the file.

    Raises:
        OutputError: It cannot be written.
    """
    write_atomic(path, msgspec.json.format(msgspec.json.encode(bench), indent=1) + b"\n")


def read_bench(path: Path) -> Bench:
    """Read such a file.

    Raises:
        BundleError: It is missing, damaged or something else.
        SchemaVersionError: A newer edgead wrote it.
    """
    remedy = "Give a file that `edgead bench -o` wrote."
    try:
        data = path.read_bytes()
        header = msgspec.json.decode(data, type=_Header)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", remedy) from error
    except UNREADABLE as error:
        raise BundleError(f"{path} is not a benchmark ({error})", remedy) from error
    if header.kind != KIND:
        raise BundleError(f"{path} is not a benchmark but '{header.kind}'", remedy)
    if header.schema_version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path} is of version {header.schema_version}, this edgead reads up to {SCHEMA_VERSION}",
            "Update edgead.",
        )
    try:
        bench = msgspec.json.decode(data, type=Bench)
    except UNREADABLE as error:
        raise BundleError(f"{path} is damaged ({error})", remedy) from error
    if not bench.measurement.frames_ms.get(TOTAL):
        raise BundleError(f"{path} has no frames", remedy)
    return bench


def in_order(stages: dict[str, list[float]]) -> dict[str, list[float]]:
    """Stages in the order in which they happen, the total last."""
    known = [name for name in STAGES if name in stages]
    others = [name for name in stages if name not in STAGES and name != TOTAL]
    return {name: stages[name] for name in (*known, *others, TOTAL) if name in stages}


def check_frames(frames: int, warm_up: int) -> None:
    """Refuse what says nothing.

    Raises:
        EdgeadError: Fewer than two timed frames, or a negative warm-up.
    """
    if frames < 2:
        raise EdgeadError(
            f"--frames {frames} cannot say how much a frame's time varies",
            "Give at least 2, and 200 for a p99 that means something.",
        )
    if warm_up < 0:
        raise EdgeadError(f"--warm-up {warm_up} is negative", "Give 0 or more.")
