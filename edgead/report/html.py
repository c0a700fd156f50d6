"""One self-contained page of results: no network, no script, every name escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from edgead.evaluation.labelled import judge
from edgead.evaluation.latency import stage_latencies
from edgead.records import FailedPicture, InspectedPicture, PictureRecord
from edgead.report.facts import DetectorFacts
from edgead.report.histogram import Histogram, make_histogram
from edgead.report.overlay import SATURATED_AT, SHOWN_FROM, palette_hex
from edgead.report.page import page_environment

THUMBNAIL_PX = 480
_KNOWN_DEFECTIVE = "known defective"
_TRUTHS = {
    (True, True): "known defective: found",
    (True, False): "known defective: MISSED",
    (False, True): "known good: FALSE ALARM",
    (False, False): "known good: passed",
}


@dataclass(frozen=True)
class SideBySide:
    """An unusual spot beside what comes nearest to it in the good pictures, as small JPEGs."""

    spot: bytes
    nearest: bytes
    caption: str


@dataclass(frozen=True)
class Thumbnails:
    """A picture and its overlay as small JPEGs."""

    original: bytes
    overlay: bytes
    explanations: tuple[SideBySide, ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading and paragraphs for the end of the page."""

    heading: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class ReportWords:
    """How the page speaks of scores and verdicts; by default as of an inspection with a detector."""

    lead: str = "Sorted by score, the most anomalous first."
    banner_head: str = ""
    banner: str = ""
    """What a reader must know before anything else; empty for nothing."""
    threshold: str = "threshold"
    above: str = "anomalous"
    below: str = "OK"
    above_badge: str = "ANOMALY"
    below_badge: str = "OK"
    inspected: str = "inspected"
    compared_with: str = "from everything seen in the good pictures"
    unpainted: str = "nothing is unusual"
    overlay_caption: str = "What the detector sees"
    ranked: bool = False
    """Whether each picture shows its place in the order."""


INSPECTION = ReportWords()


@dataclass(frozen=True)
class Report:
    """Everything the page shows."""

    title: str
    records: Sequence[PictureRecord]
    facts: DetectorFacts
    thumbnails: Mapping[str, Thumbnails]
    """By file; a picture without is shown in numbers only."""
    labels: Mapping[str, bool] = field(default_factory=dict)
    """By file: whether the part is known to be defective. Empty where nothing is known."""
    sections: tuple[Section, ...] = ()
    words: ReportWords = INSPECTION


@dataclass(frozen=True)
class _Row:
    record: InspectedPicture
    name: str
    folder: str
    truth: str
    """What is known of the part and how the verdict compares; empty where nothing is known."""
    wrong: bool
    original: str | None
    overlay: str | None
    explanations: tuple[tuple[str, str, str], ...]
    """Spot, nearest good spot and caption."""


def render_report(report: Report) -> str:
    """The page as HTML text."""
    inspected = [record for record in report.records if isinstance(record, InspectedPicture)]
    rows = [
        _row(record, report)
        for record in sorted(inspected, key=lambda record: record.times_threshold, reverse=True)
    ]
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            facts=report.facts,
            words=report.words,
            high_groups=(report.words.above, _KNOWN_DEFECTIVE),
            rows=rows,
            headlines=judge(inspected, report.labels).sentences() if report.labels else (),
            failed=[record for record in report.records if isinstance(record, FailedPicture)],
            anomalies=sum(record.is_anomaly for record in inspected),
            without_images=sum(row.original is None for row in rows),
            histogram=_histogram(inspected, report),
            latencies=stage_latencies(report.records),
            palette=palette_hex(9),
            legend_ticks=[
                (SHOWN_FROM, 0),
                (1.0, 100 * (1 - SHOWN_FROM) / (SATURATED_AT - SHOWN_FROM)),
                (SATURATED_AT, 100),
            ],
        )
    )


def _row(record: InspectedPicture, report: Report) -> _Row:
    thumbnails = report.thumbnails.get(record.file)
    defective = report.labels.get(record.file)
    path = PurePath(record.file)
    return _Row(
        record=record,
        name=path.name,
        folder="" if path.parent == PurePath() else str(path.parent),
        truth="" if defective is None else _TRUTHS[defective, record.is_anomaly],
        wrong=defective is not None and defective != record.is_anomaly,
        original=_data_uri(thumbnails.original) if thumbnails else None,
        overlay=_data_uri(thumbnails.overlay) if thumbnails else None,
        explanations=tuple(
            (_data_uri(pair.spot), _data_uri(pair.nearest), pair.caption)
            for pair in (thumbnails.explanations if thumbnails else ())
        ),
    )


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _histogram(inspected: Sequence[InspectedPicture], report: Report) -> Histogram | None:
    if not inspected:
        return None
    threshold = report.facts.threshold
    if report.labels:
        groups = {"known good": False, _KNOWN_DEFECTIVE: True}
        truth = {record.file: report.labels.get(record.file, False) for record in inspected}
    else:
        groups = {report.words.below: False, report.words.above: True}
        truth = {record.file: record.is_anomaly for record in inspected}
    scores = {
        group: [_score_at(threshold, record) for record in inspected if truth[record.file] == kind]
        for group, kind in groups.items()
    }
    return make_histogram(scores, threshold)


def _score_at(threshold: float, record: InspectedPicture) -> float:
    """The score, of a picture that a faster setting looked at in the unit of the full one."""
    return record.score if record.threshold == threshold else record.times_threshold * threshold
