"""The files an evaluation ends with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead_runtime.files import write_atomic

from edgead.evaluation.summary import Summary
from edgead.evaluation.tables import to_csv, to_json_object, to_markdown
from edgead.report.evaluation_page import EvaluationPage, render_evaluation

RESULTS_JSON = "results.json"
RESULTS_CSV = "results.csv"
RESULTS_MD = "results.md"
REPORT_HTML = "report.html"


@dataclass(frozen=True)
class RunTexts:
    """What the outputs say of the run."""

    title: str
    official_weights: bool
    backbone: str
    weights_note: str
    rows: tuple[tuple[str, str], ...]
    """Term and value, in the order shown."""
    settings: dict[str, Any]


def write_outputs(out: Path, summary: Summary, texts: RunTexts) -> None:
    """Write results.json, results.csv, results.md and report.html, each whole or not at all.

    Raises:
        OutputError: One cannot be written.
    """
    page = render_evaluation(
        EvaluationPage(
            title=texts.title,
            summary=summary,
            official_weights=texts.official_weights,
            backbone=texts.backbone,
            weights_note=texts.weights_note,
            rows=texts.rows,
        )
    )
    data = to_json_object(summary, texts.settings)
    write_atomic(out / RESULTS_JSON, (json.dumps(data, indent=1) + "\n").encode())
    write_atomic(out / RESULTS_CSV, to_csv(summary).encode())
    write_atomic(out / RESULTS_MD, to_markdown(summary, texts.title, texts.rows).encode())
    write_atomic(out / REPORT_HTML, page.encode())
