"""Inspecting pictures and leaving a results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgead_runtime import Detector
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.explanation import check_explainable
from edgead_runtime.files import atomic_folder

from edgead._version import __version__
from edgead.evaluation.latency import stage_latencies
from edgead.jobs.inspection import Gallery, inspect_pictures
from edgead.jobs.results_folder import REPORT_HTML
from edgead.records import (
    RESULTS_CSV,
    RESULTS_JSONL,
    FailedPicture,
    InspectedPicture,
    PictureRecord,
    write_results_csv,
    write_results_jsonl,
)
from edgead.report.facts import detector_facts
from edgead.report.html import Report, Section, render_report


@dataclass(frozen=True)
class ReportExtras:
    """What a report says beyond the results themselves."""

    title: str | None = None
    sections: tuple[Section, ...] = ()
    labels: Mapping[Path, bool] = field(default_factory=dict)
    """Whether a picture's part is known to be defective."""


NO_EXTRAS = ReportExtras()


@dataclass(frozen=True)
class Detection:
    """Outcome of an inspection."""

    records: tuple[PictureRecord, ...]
    out: Path
    labels: Mapping[str, bool]
    """By file: whether the part is known to be defective; empty where nothing is known."""

    @property
    def inspected(self) -> list[InspectedPicture]:
        """Pictures with a score."""
        return [record for record in self.records if isinstance(record, InspectedPicture)]

    @property
    def failed(self) -> list[FailedPicture]:
        """Pictures without."""
        return [record for record in self.records if isinstance(record, FailedPicture)]

    @property
    def anomalies(self) -> int:
        """How many pictures are anomalous."""
        return sum(record.is_anomaly for record in self.inspected)

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.out / REPORT_HTML

    def summary(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "degraded": sum(bool(record.degraded) for record in self.inspected),
            "out": str(self.out),
            "report": str(self.report),
            "pictures": len(self.records),
            "inspected": len(self.inspected),
            "anomalous": self.anomalies,
            "failed": [asdict(record) for record in self.failed],
            "latency_ms": {
                latency.stage: {"p50": round(latency.p50_ms, 3), "p95": round(latency.p95_ms, 3)}
                for latency in stage_latencies(self.records)
            },
        }


def detect_pictures(
    detector: Detector,
    name: str,
    sha256: str,
    paths: Sequence[Path],
    out: Path,
    *,
    report_limit: int,
    overwrite: bool = False,
    strict: bool = False,
    explain: bool = False,
    extras: ReportExtras = NO_EXTRAS,
    progress: Progress = ignore_progress,
) -> Detection:
    """Inspect pictures and write records, overlays and the report.

    Args:
        detector: What looks at them.
        name: Its file's name.
        sha256: Its file's hash.
        paths: Picture files.
        out: Results folder; it appears whole or not at all.
        report_limit: How many pictures the report shows with images.
        overwrite: Replace an earlier one.
        strict: Stop at the first picture that cannot be inspected.
        explain: Show the strongest regions beside what comes nearest in the good pictures.
        extras: Title, labels and sections of the report.
        progress: Told after each picture.

    Raises:
        PictureError: With ``strict``, a picture cannot be inspected.
        RecipeError: ``explain`` is asked of a recipe that remembers no single patches.
        OutputError: The results cannot be written.
    """
    if explain:
        check_explainable(detector.recipe)
    with atomic_folder(out, overwrite=overwrite) as folder:
        gallery = Gallery(report_limit)
        records = inspect_pictures(
            detector, paths, folder, gallery=gallery, strict=strict, explain=explain, progress=progress
        )
        provenance = {"detector": sha256, "edgead": __version__, **asdict(detector.provenance)}
        write_results_jsonl(folder / RESULTS_JSONL, records, provenance)
        write_results_csv(folder / RESULTS_CSV, records)
        labels = {
            record.file: extras.labels[path]
            for path, record in zip(paths, records, strict=True)
            if path in extras.labels
        }
        page = render_report(
            Report(
                title=extras.title or f"Inspection with {name}",
                records=records,
                facts=detector_facts(detector, name, sha256),
                thumbnails=gallery.by_file(),
                labels=labels,
                sections=extras.sections,
            )
        )
        (folder / REPORT_HTML).write_text(page, encoding="utf-8")
    return Detection(records=tuple(records), out=out, labels=labels)
