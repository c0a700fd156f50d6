"""The picture of a tuning: what it says and where it goes."""

from __future__ import annotations

from pathlib import Path

from edgead_runtime.files import write_atomic

from edgead.jobs.bench.words import machine_line
from edgead.jobs.tune.record import Tune
from edgead.jobs.tune.words import cascade_line, choice_line
from edgead.report.tune_chart import TunedPoint, draw_tune


def write_picture(path: Path, found: Tune) -> None:
    """Draw the tuning.

    Raises:
        OutputError: It cannot be written.
    """
    lines = [machine_line(found.machine), choice_line(found)]
    lines += [cascade_line(found.cascade)] if found.cascade else []
    points = [
        TunedPoint(
            name=row.name,
            p50_ms=row.times.p50_ms,
            p99_ms=row.times.p99_ms,
            map_rank=row.fidelity.map_rank,
            on_front=row.on_front,
            is_chosen=row.name == found.chosen,
        )
        for row in found.rows
    ]
    headline = f"{found.detector}: {found.budget_ms:g} ms a frame"
    write_atomic(path, draw_tune(headline, lines, points, found.budget_ms, path.suffix.lower()))
