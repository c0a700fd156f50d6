"""A benchmark as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from edgead.jobs.bench.difference import Difference
from edgead.jobs.bench.machine import Machine
from edgead.jobs.bench.record import TOTAL, Bench, Subject
from edgead.jobs.bench.remarks import temperature_remark
from edgead.jobs.bench.statistics import Ratio
from edgead.wording import count_of

_NAME = 12


def bench_lines(bench: Bench) -> list[str]:
    """The whole benchmark."""
    lines = [machine_line(bench.machine), subject_line(bench.measurement.subject, bench.frame_wh), ""]
    header = f"{'ms':<{_NAME}}" + "".join(f"{name:>9}" for name in ("p50", "p95", "p99", "max"))
    lines.append(header)
    for stage, times in bench.measurement.stages.items():
        values = (times.p50_ms, times.p95_ms, times.p99_ms, times.max_ms)
        lines.append(f"{stage:<{_NAME}}" + "".join(f"{value:>9.1f}" for value in values))
    frames = len(bench.measurement.frames_ms[TOTAL])
    lines += ["", f"{count_of(frames, 'frame')}, one after another, after {bench.warm_up} to warm up."]
    lines += [throughput_line(bench), start_line(bench)]
    warmth = temperature_remark(bench.machine.temperatures_c, bench.temperatures_after_c)
    if warmth:
        lines.append(f"Temperature: {warmth}.")
    return lines + [comparison_line(c.measurement.subject, c.ratio) for c in bench.comparisons]


def machine_line(machine: Machine) -> str:
    """The computer in a sentence."""
    cores = f"{machine.usable_cores:g} of {count_of(machine.cores, 'core')}"
    parts = [machine.board, machine.cpu, cores, machine.power_mode]
    if machine.flags:
        parts.append(" ".join(machine.flags))
    if machine.governor:
        parts.append(f"governor {machine.governor}")
    if machine.load is not None:
        parts.append(f"load {machine.load:.1f} before")
    return ", ".join(part for part in parts if part) + "."


def subject_line(subject: Subject, frame_wh: tuple[int, int]) -> str:
    """What was measured in a sentence."""
    threads = "" if subject.threads is None else f", {count_of(subject.threads, 'thread')}"
    return (
        f"{subject.name}: {subject.backbone} at {subject.input_wh[0]} x {subject.input_wh[1]}, "
        f"{subject.engine} in {subject.precision}{threads}; {subject.recipe}, "
        f"{count_of(subject.references, 'reference')} with {subject.patches} patches{_searched(subject)}; "
        f"frames of {frame_wh[0]} x {frame_wh[1]} in memory to score and map."
    )


def _searched(subject: Subject) -> str:
    return "" if subject.index == "exact" else f" in the index '{subject.index}'"


def throughput_line(bench: Bench) -> str:
    """Frames a second by the number of callers, and whether more than one helps."""
    rates = bench.throughput
    best = max(rates, key=lambda rate: rate.frames_per_second)
    each = ", ".join(f"{rate.frames_per_second:.1f} with {rate.callers}" for rate in rates)
    gain = best.frames_per_second / rates[0].frames_per_second
    verdict = (
        f"{best.callers} callers at once give {gain:.2f} times the frames of one"
        if best.callers > 1 and gain > 1.05
        else "more callers at once give no more"
    )
    return f"Throughput, frames a second by callers: {each}; {verdict}."


def start_line(bench: Bench) -> str:
    """How long a fresh process takes, and how much memory."""
    start = bench.start
    memory = "" if start.peak_mb is None else f" Its memory peaks at {start.peak_mb:.0f} MB."
    return (
        f"A fresh process has its first result after {start.total_s:.2f} s "
        f"(imports {start.import_s:.2f}, loading {start.load_s:.2f}, first frame {start.first_frame_s:.2f})."
        f"{memory}"
    )


def comparison_line(subject: Subject, ratio: Ratio) -> str:
    """How another setting compares, in a sentence."""
    return f"{subject.name} ({subject.engine}, {subject.precision}) takes {ratio_words(ratio)}."


def ratio_words(ratio: Ratio) -> str:
    """``1.27 times as long (95 % interval 1.25 to 1.29)``."""
    doubt = "" if ratio.is_clear else ", so no clear difference"
    return f"{ratio.ratio:.3f} times as long (95 % interval {ratio.low:.3f} to {ratio.high:.3f}{doubt})"


def difference_lines(found: Difference, names: Sequence[str]) -> list[str]:
    """Two benchmarks beside each other.

    Args:
        found: The difference.
        names: What the two files are called.
    """
    lines = [f"1: {names[0]}: {machine_line(found.first.machine)}"]
    lines += [f"2: {names[1]}: {machine_line(found.second.machine)}", ""]
    lines.append(f"{'median ms':<{_NAME}}{'1':>9}{'2':>9}{'2 / 1':>9}  95 % interval")
    one, two = found.first.measurement.stages, found.second.measurement.stages
    for stage, ratio in found.ratios.items():
        lines.append(
            f"{stage:<{_NAME}}{one[stage].p50_ms:>9.1f}{two[stage].p50_ms:>9.1f}{ratio.ratio:>9.2f}"
            f"  {ratio.low:.2f} to {ratio.high:.2f}"
        )
    p99 = (one[TOTAL].p99_ms, two[TOTAL].p99_ms)
    lines.append(f"{'total, p99':<{_NAME}}{p99[0]:>9.1f}{p99[1]:>9.1f}{p99[1] / p99[0]:>9.2f}")
    if found.facts:
        lines += ["", "What differs:"]
        lines += [
            f"  {name}: {left or 'unknown'} | {right or 'unknown'}" for name, left, right in found.facts
        ]
    if not found.same_work:
        lines += ["", "The two did not do the same work (encoder, recipe, bank or frames differ)."]
    for number, bench in enumerate((found.first, found.second), start=1):
        lines += [f"{number}: {remark}" for remark in bench.remarks]
    return lines
