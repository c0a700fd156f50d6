"""The picture of a benchmark: what it says and where it goes."""

from __future__ import annotations

from pathlib import Path

from edgead_runtime.errors import OutputError
from edgead_runtime.files import write_atomic

from edgead.jobs.bench.record import TOTAL, Bench, Measurement
from edgead.jobs.bench.words import comparison_line, machine_line, start_line, subject_line, throughput_line
from edgead.jobs.output_files import check_output_file
from edgead.report.latency_chart import LatencySeries, draw_latency

SUFFIXES = (".png", ".svg")


def check_files(out: Path | None, picture: Path | None, *, overwrite: bool) -> None:
    """Check before the work that the results can be written and replace nothing unasked.

    Raises:
        OutputError: They cannot, or would.
    """
    if picture is not None and picture.suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot draw {picture}", "Give --picture a name that ends with .png or .svg.")
    for path in (out, picture):
        if path is not None:
            check_output_file(path, overwrite=overwrite)


def write_picture(path: Path, bench: Bench) -> None:
    """Draw the benchmark.

    Raises:
        OutputError: It cannot be written.
    """
    times = bench.measurement.stages[TOTAL]
    lines = [
        subject_line(bench.measurement.subject, bench.frame_wh),
        machine_line(bench.machine),
        throughput_line(bench),
        start_line(bench),
        *(comparison_line(other.measurement.subject, other.ratio) for other in bench.comparisons),
    ]
    series = [
        _series(each) for each in (bench.measurement, *(other.measurement for other in bench.comparisons))
    ]
    headline = (
        f"Half of the frames take up to {_short(times.p50_ms)} ms, 99 of 100 up to {_short(times.p99_ms)} ms "
        f"({1000 / times.p50_ms:.1f} frames a second)"
    )
    write_atomic(path, draw_latency(headline, lines, series, bench.remarks, path.suffix.lower()))


def _short(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 10 else f"{ms:.1f}"


def _series(measurement: Measurement) -> LatencySeries:
    return LatencySeries(
        name=measurement.subject.name,
        totals_ms=measurement.frames_ms[TOTAL],
        stages_ms={stage: times.p50_ms for stage, times in measurement.stages.items() if stage != TOTAL},
    )
