"""A tuning as a person reads it in a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgead.jobs.bench.words import machine_line
from edgead.jobs.tune.record import CascadeRow, Tune
from edgead.wording import count_of

_WIDTH = 110


def tune_lines(found: Tune) -> list[str]:
    """The whole tuning."""
    looked = count_of(found.drawn_defects, "drawn defect")
    if found.good_pictures:
        looked = f"{count_of(found.good_pictures, 'good picture')}, each left out of its bank, and {looked}"
    lines = [
        machine_line(found.machine),
        f"{found.detector}: frames of {found.frame_wh[0]} x {found.frame_wh[1]} in memory to score and map, "
        f"{count_of(found.timed_frames, 'frame')} a setting in turns; agreement with the full setting on "
        f"{looked}.",
        "",
        *_table(found).splitlines(),
        "",
        choice_line(found),
    ]
    return [*lines, *([cascade_line(found.cascade)] if found.cascade else [])]


def _table(found: Tune) -> str:
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("setting", "p50 ms", "p95", "p99", "map rank", "score rank", "verdicts", ""):
        table.add_column(name, justify="left" if name in ("setting", "") else "right", no_wrap=True)
    for row in sorted(found.rows, key=lambda row: -row.times.p99_ms):
        marks = [
            "<- chosen" if row.name == found.chosen else "",
            "stored" if row.stored and row.name != found.chosen else "",
            "" if row.on_front else "beaten",
            "" if row.holds else "too slow",
        ]
        table.add_row(
            row.name,
            f"{row.times.p50_ms:.1f}",
            f"{row.times.p95_ms:.1f}",
            f"{row.times.p99_ms:.1f}",
            f"{row.fidelity.map_rank:.3f}",
            f"{row.fidelity.score_rank:.3f}",
            f"{row.fidelity.same_verdict:.0%}",
            ", ".join(mark for mark in marks if mark),
        )
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def choice_line(found: Tune) -> str:
    """What was chosen, in a sentence."""
    chosen = next(row for row in found.rows if row.name == found.chosen)
    if not found.holds:
        return (
            f"Nothing holds {found.budget_ms:g} ms at p99 here: the fastest setting, {chosen.name}, "
            f"takes {chosen.times.p99_ms:.1f} ms."
        )
    return (
        f"{chosen.name} holds {found.budget_ms:g} ms: {chosen.times.p99_ms:.1f} ms at p99, map rank "
        f"{chosen.fidelity.map_rank:.3f}, {chosen.fidelity.same_verdict:.0%} of the full setting's verdicts."
    )


def cascade_line(row: CascadeRow) -> str:
    """What a cascade would bring and risk, in a sentence."""
    return (
        f"Cascade ({row.name}): a good picture takes {row.usual_ms:.0f} ms on average instead of "
        f"{row.full_usual_ms:.0f}, a frame with both looks {row.worst_ms:.0f} (p99); "
        f"{row.second_looks_good:.0%} of {count_of(row.good_pictures, 'good picture')} need both. It missed "
        f"{row.missed} of {count_of(row.tried, 'drawn defect')} that the full setting finds and that had no "
        f"part in setting it up.{'' if row.stored else ' No gain here, so it is not stored.'}"
    )


def what_would_help(found: Tune, encoders: Sequence[Path]) -> list[str]:
    """Sentences for whoever finds that nothing holds the budget."""
    fastest = min(found.rows, key=lambda row: row.times.p99_ms)
    smallest = min(min(row.input_wh) for row in found.rows)
    lines = []
    if not encoders or smallest > 224:
        lines.append(
            f"An encoder of half the size takes about a quarter of the time: "
            f"edgead export --res {max(112, smallest // 28 * 14)}, and give it with --encoder."
        )
    if find_spec("openvino") is None:
        lines.append(
            'OpenVINO is not installed (pip install "edgead-runtime[openvino]"); on x86 it is faster.'
        )
    elif not any(row.precision == "bf16" for row in found.rows):
        lines.append(
            "No setting ran in bfloat16, which this processor or this choice of engines does not have."
        )
    lines.append(f"What would hold: a budget of {fastest.times.p99_ms:.0f} ms or more, or a faster machine.")
    return lines
