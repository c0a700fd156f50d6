"""An evaluation as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from edgead.evaluation.comparability import joined
from edgead.evaluation.published import SOURCE
from edgead.evaluation.results import METRICS, UnitResult
from edgead.evaluation.summary import Row, Spread, Summary, failures, why_rows_not_comparable

NAMES = dict(METRICS)
NO_VALUE = "–"


def percent(spread: Spread | None) -> str:
    """``97.1 ± 0.4``; a dash where the metric is undefined."""
    if spread is None:
        return NO_VALUE
    deviation = "" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}"


def metric_title(name: str, pro_limit: float) -> str:
    """The metric's name; PRO with its limit, without which it means nothing."""
    return f"PRO (to {pro_limit:g})" if name == "pro" else NAMES[name]


def to_markdown(summary: Summary, title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Tables for a person, with everything that they need to be understood."""
    limit = summary.facts.pro_limit
    parts = [f"# {title}", "\n".join(f"- {term}: {value}" for term, value in rows)]
    parts.append(
        "Per cent; mean ± standard deviation over the seeds. False alarms and misses are counted at the "
        "detectors' own thresholds, over all seeds."
    )
    header = ["object", "shots", *(metric_title(name, limit) for name, _ in METRICS)]
    parts.append(
        _table(
            [*header, "masked", "false alarms", "missed"],
            [
                [
                    _name(row),
                    str(row.shots),
                    *(percent(row.metrics.get(name)) for name, _ in METRICS),
                    row.masked,
                    row.false_alarms,
                    row.missed,
                ]
                for row in (*summary.rows, *summary.means)
            ],
        )
    )
    parts += _published(summary)
    if summary.remarks:
        parts += ["## Remarks", "\n".join(f"- {remark}" for remark in summary.remarks)]
    failed = failures(summary.units)
    if failed:
        parts += [
            f"## Could not be used ({len(failed)})",
            "\n".join(f"- {file}: {problem.rstrip('.')}. {remedy}" for file, problem, remedy in failed),
        ]
    return "\n\n".join(parts) + "\n"


def _published(summary: Summary) -> list[str]:
    rows = [row for row in (*summary.rows, *summary.means) if row.published]
    if not rows:
        return []
    run_reasons = summary.why_not_comparable
    lines = []
    for row in rows:
        assert row.published is not None  # noqa: S101  (for the type checker; filtered above)
        for name, value in row.published.percent.items():
            verdict = "**not comparable**" if row.published.not_comparable else "comparable"
            lines.append(
                [
                    _name(row),
                    str(row.shots),
                    metric_title(name, summary.facts.pro_limit),
                    percent(row.metrics.get(name)),
                    str(value),
                    verdict,
                ]
            )
    head = ["object", "shots", "metric", "here", "published", ""]
    intro = f"{SOURCE}."
    if run_reasons:
        intro += f" **Not comparable** with this run: {joined(run_reasons)}."
    why = [f"- {reason}" for reason in why_rows_not_comparable(summary)]
    return ["## Published numbers", intro, _table(head, lines), *(["\n".join(why)] if why else [])]


def to_csv(summary: Summary) -> str:
    """One row a unit, then mean and standard deviation over the seeds; shares from 0 to 1."""
    buffer = io.StringIO()
    names = [name for name, _ in METRICS]
    columns = ["object", "shots", "seed", *names, "masked", "false_alarms", "missed", "failed", "not_run"]
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for unit in summary.units:
        row: dict[str, object] = {"object": unit.object, "shots": unit.shots, "seed": unit.seed}
        if unit.not_run:
            row["not_run"] = unit.not_run
        else:
            row.update(unit.metrics)
            row.update(
                masked=str(unit.masked).lower(),
                false_alarms=unit.false_alarms,
                missed=unit.missed,
                failed=len(unit.failed),
            )
        writer.writerow(row)
    for kept in (*summary.rows, *summary.means):
        key = {"object": kept.object, "shots": kept.shots}
        writer.writerow({**key, "seed": "mean", **{n: s.mean for n, s in kept.metrics.items()}})
        spread = {n: s.deviation for n, s in kept.metrics.items() if s.deviation is not None}
        writer.writerow({**key, "seed": "std", **spread})
    return buffer.getvalue()


def to_json_object(summary: Summary, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the pictures: settings, rows, and each unit with scores and curves."""
    return {
        "settings": dict(settings),
        "rows": [_row_object(row) for row in summary.rows],
        "means": [_row_object(row) for row in summary.means],
        "remarks": list(summary.remarks),
        "failed": [
            {"file": file, "problem": problem, "remedy": remedy}
            for file, problem, remedy in failures(summary.units)
        ],
        "units": [_unit_object(unit) for unit in summary.units],
    }


def _row_object(row: Row) -> dict[str, Any]:
    return {
        "object": row.object,
        "shots": row.shots,
        "metrics": {
            name: {"mean": spread.mean, "std": spread.deviation, "seeds": spread.seeds}
            for name, spread in row.metrics.items()
        },
        "published_percent": row.published.percent if row.published else {},
        "not_comparable": list(row.published.not_comparable) if row.published else [],
    }


def _unit_object(unit: UnitResult) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(unit)
    fields["worst"] = [
        {"file": case.file, "what": case.what, "times_threshold": case.times_threshold} for case in unit.worst
    ]
    return fields


def _name(row: Row) -> str:
    return row.object.replace("|", "\\|")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
