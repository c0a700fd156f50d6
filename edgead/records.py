"""What is known of each picture after an inspection, and how it is written to files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgead_runtime.anomaly_map import Region
from edgead_runtime.explanation import Box

_TINY = 2.0**-126
"""Stands in for a threshold of 0, as in :class:`edgead_runtime.Result`."""
RESULTS_JSONL = "results.jsonl"
OVERLAYS = "overlays"
RESULTS_CSV = "results.csv"

_CSV_COLUMNS = (
    "file",
    "score",
    "threshold",
    "is_anomaly",
    "regions",
    "largest_region_px",
    "peak",
    "overlay",
    "error",
)


@dataclass(frozen=True)
class ExplainedRegion:
    """The most unusual patch of a region, and the good patch that is most like it."""

    patch: Box
    """In pixels of the picture."""
    distance: float
    reference: str
    """Name of the good picture."""
    view: str
    """How it was remembered, e.g. ``turned by 45°``."""
    reference_patch: Box
    """In pixels of the good picture in that view."""


@dataclass(frozen=True)
class InspectedPicture:
    """A picture the detector could look at."""

    file: str
    width: int
    height: int
    score: float
    threshold: float
    is_anomaly: bool
    regions: tuple[Region, ...]
    timings_ms: Mapping[str, float]
    overlay: str
    """Path of its overlay inside the results folder, with forward slashes."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it was inspected."""
    degraded: tuple[str, ...] = ()
    """What a latency budget took away."""
    explanations: tuple[ExplainedRegion, ...] = ()
    """Of its strongest regions, where explanations were asked for."""

    @property
    def times_threshold(self) -> float:
        """See :attr:`edgead_runtime.Result.times_threshold`: pictures that a budget degraded have another."""
        return self.score / max(self.threshold, _TINY)


@dataclass(frozen=True)
class FailedPicture:
    """A picture that could not be inspected."""

    file: str
    problem: str
    remedy: str


PictureRecord = InspectedPicture | FailedPicture


def shown_path(path: Path) -> str:
    """A path as text that can always be written as UTF-8, whatever bytes the file system holds."""
    text = os.fsencode(path).decode("utf-8", errors="replace")
    # A spreadsheet takes a cell that begins so for a formula.
    return f"./{text}" if text.startswith(("=", "+", "-", "@")) else text


def writable(text: str) -> str:
    """Text that may hold a file's name, such that it can always be written as UTF-8."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def to_json_object(record: PictureRecord, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``results.jsonl``; a failed picture has ``error`` and no score."""
    if isinstance(record, FailedPicture):
        fields: dict[str, Any] = {"file": record.file, "error": record.problem, "remedy": record.remedy}
    else:
        fields = asdict(record)
        fields["timings_ms"] = {stage: round(ms, 3) for stage, ms in record.timings_ms.items()}
    return {**fields, "provenance": dict(provenance)}


def write_results_jsonl(path: Path, records: Iterable[PictureRecord], provenance: Mapping[str, Any]) -> None:
    """Write one JSON object a picture, in the order of inspection."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            stream.write(json.dumps(to_json_object(record, provenance), ensure_ascii=False) + "\n")


def write_results_csv(path: Path, records: Iterable[PictureRecord]) -> None:
    """Write one row a picture for a spreadsheet; the columns are the same for every version 0 release."""
    # With a byte order mark, without which Excel garbles every name that is not English.
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, _CSV_COLUMNS, restval="")
        writer.writeheader()
        for record in records:
            writer.writerow(_csv_row(record))


def _csv_row(record: PictureRecord) -> dict[str, object]:
    if isinstance(record, FailedPicture):
        return {"file": record.file, "error": record.problem}
    return {
        "file": record.file,
        "score": record.score,
        "threshold": record.threshold,
        "is_anomaly": str(record.is_anomaly).lower(),
        "regions": len(record.regions),
        "largest_region_px": max((region.area_px for region in record.regions), default=0),
        "peak": max((region.peak for region in record.regions), default=""),
        "overlay": record.overlay,
    }
