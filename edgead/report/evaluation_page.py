"""The page of an evaluation: tables, curves and worst cases; no network, no script, every name escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from edgead.evaluation.comparability import joined
from edgead.evaluation.published import SOURCE
from edgead.evaluation.results import METRICS, UnitResult, WorstCase
from edgead.evaluation.summary import Row, Summary, failures, why_rows_not_comparable
from edgead.evaluation.tables import metric_title, percent
from edgead.report.curves import CurveChart, make_chart
from edgead.report.overlay import SATURATED_AT, SHOWN_FROM, palette_hex
from edgead.report.page import page_environment

CASES_SHOWN = 3
"""False alarms, and misses, that an object shows."""


@dataclass(frozen=True)
class EvaluationPage:
    """Everything the page shows."""

    title: str
    summary: Summary
    official_weights: bool
    backbone: str
    weights_note: str
    rows: tuple[tuple[str, str], ...]
    """Where the numbers come from: term and value."""


@dataclass(frozen=True)
class Case:
    """A picture that was judged wrongly in one or more runs."""

    file: str
    kind: str
    where: str
    """Runs it was wrong in, and by how much in the one shown."""
    original: str
    overlay: str


@dataclass(frozen=True)
class ObjectPart:
    """What the page says of one object."""

    name: str
    charts: tuple[CurveChart, ...]
    false_alarms: tuple[Case, ...]
    misses: tuple[Case, ...]


def render_evaluation(page: EvaluationPage) -> str:
    """The page as HTML text."""
    environment = page_environment()
    environment.filters["percent"] = percent
    environment.filters["joined"] = joined
    summary = page.summary
    objects = list(dict.fromkeys(unit.object for unit in summary.units))
    rows: list[Row] = [*summary.rows, *summary.means]
    return environment.get_template("evaluation.html.j2").render(
        page=page,
        metrics=[(name, metric_title(name, summary.facts.pro_limit)) for name, _ in METRICS],
        rows=rows,
        published=[row for row in rows if row.published],
        published_source=SOURCE,
        row_reasons=why_rows_not_comparable(summary),
        run_reasons=summary.why_not_comparable,
        objects=[_object_part(name, summary) for name in objects],
        runs=sum(not unit.not_run for unit in summary.units),
        not_run=sum(bool(unit.not_run) for unit in summary.units),
        failed=failures(summary.units),
        palette=palette_hex(9),
        legend=f"{SHOWN_FROM:g} to {SATURATED_AT:g}",
    )


def _object_part(name: str, summary: Summary) -> ObjectPart:
    units = [unit for unit in summary.units if unit.object == name and not unit.not_run]
    limit = summary.facts.pro_limit
    charts = (
        _chart("image ROC", "false-alarm rate of pictures", "image_roc", units),
        _chart("pixel ROC", "false-positive rate of pixels", "pixel_roc", units),
        _chart(f"per-region overlap, to {limit:g}", "false-positive rate of pixels", "pro", units, limit),
    )
    return ObjectPart(
        name=name,
        charts=tuple(chart for chart in charts if chart.lines),
        false_alarms=_cases(units, "false alarm"),
        misses=_cases(units, "miss"),
    )


def _chart(
    title: str, x_title: str, curve: str, units: Sequence[UnitResult], x_limit: float = 1.0
) -> CurveChart:
    shots = sorted({unit.shots for unit in units})
    return make_chart(
        title,
        x_title,
        {
            f"{count}-shot": [
                unit.curves[curve] for unit in units if unit.shots == count and curve in unit.curves
            ]
            for count in shots
        },
        x_limit,
    )


def _cases(units: Sequence[UnitResult], what: str) -> tuple[Case, ...]:
    """The pictures that were wrong most often; among equals those furthest on the wrong side."""
    kept: dict[str, list[tuple[WorstCase, UnitResult]]] = {}
    for unit in units:
        for case in unit.worst:
            if case.what == what:
                kept.setdefault(case.file, []).append((case, unit))
    wrong = {
        file: sum(
            picture.file == file and picture.alarm != picture.anomalous
            for unit in units
            for picture in unit.pictures
        )
        for file in kept
    }
    sign = 1 if what == "false alarm" else -1

    def badness(entry: tuple[WorstCase, UnitResult]) -> float:
        return sign * entry[0].times_threshold

    ranked = sorted(
        kept, key=lambda file: (wrong[file], max(badness(entry) for entry in kept[file])), reverse=True
    )
    cases = []
    for file in ranked[:CASES_SHOWN]:
        case, unit = max(kept[file], key=badness)
        cases.append(
            Case(
                file=file,
                kind=case.kind,
                where=f"Wrong in {wrong[file]} of {len(units)} runs. Shown: {unit.shots}-shot, "
                f"seed {unit.seed}, {case.times_threshold:.2f} × threshold.",
                original=_data_uri(case.original_jpeg),
                overlay=_data_uri(case.overlay_jpeg),
            )
        )
    return tuple(cases)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
