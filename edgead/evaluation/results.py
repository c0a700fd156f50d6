"""What one run of an evaluation leaves behind: a file a unit, whole or not there.

A unit is one object, one number of shots and one seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from edgead_runtime.files import write_atomic
from edgead_runtime.json_text import UNREADABLE

METRICS: tuple[tuple[str, str], ...] = (
    ("image_auroc", "image AUROC"),
    ("image_ap", "image AP"),
    ("image_f1_max", "image F1-max"),
    ("pixel_auroc", "pixel AUROC"),
    ("pixel_ap", "pixel AP"),
    ("pixel_f1_max", "pixel F1-max"),
    ("pro", "PRO"),
)
"""Every metric in the order shown, with the name a person reads. All are shares, 0 to 1."""

SCHEMA_VERSION = 1
Verdict = Literal["false alarm", "miss"]
CurvePoints = list[tuple[float, float]]


class ScoredPicture(msgspec.Struct, frozen=True, kw_only=True):
    """One test picture of a unit."""

    file: str
    kind: str
    anomalous: bool
    score: float
    alarm: bool


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A picture or mask that could not be used."""

    file: str
    problem: str
    remedy: str


class WorstCase(msgspec.Struct, frozen=True, kw_only=True):
    """A wrong verdict, with what the detector saw."""

    file: str
    what: Verdict
    kind: str
    times_threshold: float
    """Score over threshold."""
    original_jpeg: bytes
    overlay_jpeg: bytes


class UnitResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one unit."""

    schema_version: int = SCHEMA_VERSION
    settings: str
    """Hash over everything that decides the numbers; an equal one means there is nothing to do again."""
    object: str
    shots: int
    seed: int
    not_run: str = ""
    """Why it could not be run; empty where it was."""
    references: list[str] = []
    train_pictures: int = 0
    masked: bool = False
    mask_reason: str = ""
    threshold: float = 0.0
    metrics: dict[str, float] = {}
    """By the names of :data:`METRICS`; undefined ones are not in it."""
    undefined: list[str] = []
    """Why metrics are missing, or were taken over fewer pictures than there are."""
    curves: dict[str, CurvePoints] = {}
    """``image_roc``, ``pixel_roc`` and ``pro`` as (false-positive rate, value)."""
    pictures: list[ScoredPicture] = []
    failed: list[Problem] = []
    worst: list[WorstCase] = []
    median_ms: float = 0.0

    @property
    def title(self) -> str:
        """The unit in words."""
        return f"{self.object}, {self.shots}-shot, seed {self.seed}"

    @property
    def false_alarms(self) -> int:
        """Good pictures that raise an alarm at the detector's own threshold."""
        return sum(picture.alarm and not picture.anomalous for picture in self.pictures)

    @property
    def missed(self) -> int:
        """Defective pictures that raise none."""
        return sum(picture.anomalous and not picture.alarm for picture in self.pictures)

    @property
    def good(self) -> int:
        """Good pictures that were inspected."""
        return sum(not picture.anomalous for picture in self.pictures)

    @property
    def defective(self) -> int:
        """Defective pictures that were inspected."""
        return sum(picture.anomalous for picture in self.pictures)


def save_unit(path: Path, unit: UnitResult) -> None:
    """Write a unit's file.

    Raises:
        OutputError: It cannot be written.
    """
    write_atomic(path, msgspec.json.encode(unit))


def load_unit(path: Path, settings: str) -> UnitResult | None:
    """A unit that an earlier run finished, if it was run with the same settings on the same files."""
    try:
        unit = msgspec.json.decode(path.read_bytes(), type=UnitResult)
    except (OSError, *UNREADABLE):
        return None
    return unit if unit.settings == settings and unit.schema_version == SCHEMA_VERSION else None
