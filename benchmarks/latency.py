"""Latency per frame by stage, peak memory and agreement of edgead and of what people use today.

    python -m benchmarks.latency --resolutions 448 224 --frames 60
    python -m benchmarks.latency --ways release edgead-openvino --with-anomalib

All run in processes of their own and take turns, a few frames each, so that a slow minute of the machine hits
all. A turn during which a virtual machine's host took the cores away is taken again. A 1024 x 1024
photograph in memory to score and 1024 x 1024 map; all twelve blocks of ViT-S/14; one reference in eight
rotations; no mask. The floor is a large matrix product, measured in turns with the rest.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.baselines.ways import FLOORS, WAYS
from benchmarks.common import machine, save, table
from benchmarks.floors import encoder_gflop, floors_table, gflops
from benchmarks.interleaved import Taken, Times, take_turns
from benchmarks.work import job_for
from edgead.jobs.bench.remarks import MUCH_STOLEN
from edgead.jobs.bench.statistics import paired_ratio, spread

_STAGES = ("preprocess", "frame", "encode", "search", "score", "map", "total")
_RELEASE = "release"
OWN_WAYS = tuple(name for name, way in WAYS.items() if not way.anomalib)


def totals(times: Times) -> list[float]:
    """Whole frames in their order."""
    return [frame["total"] for frame in times]


def median(times: Times, stage: str) -> float | None:
    """Of one stage; ``None`` where the way does not tell it apart."""
    found = [frame[stage] for frame in times if stage in frame]
    return statistics.median(found) if found else None


def latency_table(taken: Taken) -> str:
    """A line a way: medians by stage, p99 and how many times faster than the release."""
    rows: list[list[object]] = []
    reference = taken.times.get(_RELEASE)
    for name, times in taken.times.items():
        if name not in WAYS:
            continue
        stages = [median(times, stage) for stage in _STAGES]
        if stages[1] is None:  # anomalib's graph has everything in it
            stages[1] = median(times, "model")
        peak = taken.peak_mb[name]
        rows.append(
            [
                WAYS[name].title,
                *("-" if value is None else f"{value:.1f}" for value in stages),
                f"{spread(totals(times)).p99_ms:.0f}",
                "-" if reference is None else _times_faster(reference, times),
                "-" if peak is None else f"{peak:.0f}",
            ]
        )
    header = ["way", *(f"{stage} ms" for stage in _STAGES), "p99 ms", "faster than the release", "peak MB"]
    return table(header, rows)


def _times_faster(reference: Times, times: Times) -> str:
    ratio = paired_ratio(totals(reference), totals(times))
    return f"{ratio.ratio:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})"


def ratios_table(taken: Taken) -> str:
    """How many times as long each other way takes as each of edgead's, whole frames."""
    ours = [name for name in taken.times if name in WAYS and WAYS[name].module == "ours"]
    rows: list[list[object]] = [
        [WAYS[name].title, *(_times_faster(times, taken.times[own]) for own in ours)]
        for name, times in taken.times.items()
        if name in WAYS and name not in ours
    ]
    return table(["takes, times as long as", *(WAYS[own].title for own in ours)], rows)


def agreement_table(taken: Taken) -> str:
    """A line a way: how far its scores and distances are from the release's; frames but the reference."""
    wanted = taken.results[_RELEASE][1:]
    rows: list[list[object]] = []
    for name, results in taken.results.items():
        if name not in WAYS or name == _RELEASE or results[0]["distances"] is None:
            continue
        found = results[1:]
        errors = [abs(one["score"] / other["score"] - 1) for one, other in zip(found, wanted, strict=True)]
        ranks = [
            float(spearmanr(one["distances"], other["distances"]).statistic)
            for one, other in zip(found, wanted, strict=True)
        ]
        rows.append(
            [
                WAYS[name].title,
                f"{np.median(ranks):.4f} / {min(ranks):.4f}",
                f"{np.median(errors):.2%} / {max(errors):.2%}",
            ]
        )
    header = ["way", "Spearman of the distances, median / worst", "error of the score, median / worst"]
    return table(header, rows)


def as_data(taken: Taken) -> dict[str, Any]:
    """Everything that was measured, as plain data."""
    return {
        "resolution": taken.job.resolution,
        "times_ms": taken.times,
        "peak_memory_mb": taken.peak_mb,
        "failed": taken.failed,
        "stolen_shares": taken.stolen,
        "encoder_gflop": encoder_gflop(taken.job.resolution),
        "gflops": {precision: gflops(taken, precision) for precision in ("fp32", "bf16")},
    }


def take(resolution: int, names: Sequence[str], frames: int) -> Taken:
    """Time ways at one resolution, and the floors with them."""
    return take_turns([*names, *FLOORS], job_for(resolution), frames)


def report(taken: Taken) -> str:
    """All tables of one resolution."""
    parts = [latency_table(taken), ratios_table(taken)]
    if _RELEASE in taken.results:
        parts += ["How far each is from the release's way, on seven other frames:", agreement_table(taken)]
    parts += ["The encoders over their floor:", floors_table(taken), _disturbance(taken)]
    parts += [f"{WAYS[name].title if name in WAYS else name}: {why}" for name, why in taken.failed.items()]
    return "\n\n".join(part for part in parts if part)


def _disturbance(taken: Taken) -> str:
    """A sentence on what the machine's host took, where it is a virtual one."""
    shares = [share for turns in taken.stolen.values() for share in turns]
    if not shares or not max(shares):
        return ""
    quiet = sum(share <= MUCH_STOLEN for share in shares)
    return (
        f"The host of this virtual machine took {statistics.mean(shares):.1%} of the cores' time; at most "
        f"{MUCH_STOLEN:.0%} in {quiet} of the {len(shares)} turns that count, {max(shares):.0%} in the worst."
    )


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resolutions", type=int, nargs="+", default=[448, 224])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(OWN_WAYS))
    parser.add_argument("--with-anomalib", action="store_true", help="make its environment (6.5 GB)")
    options = parser.parse_args()
    names = list(options.ways)
    if options.with_anomalib:
        names += [name for name, way in WAYS.items() if way.anomalib and name not in names]
    taken = [take(resolution, names, options.frames) for resolution in options.resolutions]
    facts = machine()
    parts = [f"Medians of {options.frames} frames on {facts['cores']} cores of {facts['cpu']}."]
    for each in taken:
        parts += [f"**{each.job.resolution} x {each.job.resolution}**", report(each)]
    save("latency", "\n\n".join(parts), {"results": [as_data(each) for each in taken]})


if __name__ == "__main__":
    main()
