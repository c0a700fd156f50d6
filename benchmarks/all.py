"""Every table and picture about speed, by one command.

    python -m benchmarks.all                   # about three quarters of an hour on two quiet cores
    python -m benchmarks.all --with-anomalib   # with the peer: 6.5 GB and ten minutes more
    python -m benchmarks.all --docs            # and write them into docs/benchmarks.md
    python -m benchmarks.all --quick           # a few frames of each: whether everything runs

Each part is written to benchmarks/out as it ends, so that what was measured is not lost with what was not.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgead_runtime.files import write_atomic

from benchmarks import encoder_graphs, latency, plots, scaling
from benchmarks.baselines.ways import WAYS
from benchmarks.common import OUT, machine, save
from benchmarks.documents import fill
from benchmarks.work import ALL_BLOCKS
from edgead.jobs.bench.machine import describe_machine
from edgead.jobs.bench.statistics import spread

_DOCS = Path(__file__).parent.parent / "docs"
PAGE = _DOCS / "benchmarks.md"
IMAGES = _DOCS / "benchmarks"


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    frames: int
    scaling_frames: int
    resolutions: tuple[int, ...]
    references: tuple[int, ...]
    cameras: tuple[int, ...]
    anomalib: bool


FULL = Amount(60, 30, scaling.RESOLUTIONS, scaling.REFERENCES, scaling.CAMERAS, anomalib=False)
QUICK = Amount(3, 3, (224, 448), (1, 5), (1, 2), anomalib=False)
_SHOWN_STAGES = ("preprocess", "frame", "encode", "model", "search", "score", "map")


def baselines(amount: Amount, resolution: int, images: Path) -> str:
    """The ways beside each other at one resolution."""
    names = [name for name, way in WAYS.items() if amount.anomalib or not way.anomalib]
    taken = latency.take(resolution, names, amount.frames)
    stages = {}
    for name, times in taken.times.items():
        if name in WAYS:
            found = {stage: latency.median(times, stage) for stage in _SHOWN_STAGES}
            stages[WAYS[name].title] = {key: value for key, value in found.items() if value is not None}
    plots.draw_bars(
        images / f"baselines_{resolution}.png",
        f"1024 x 1024 frame to score and map, ViT-S/14 at {resolution}",
        stages,
    )
    text = f"{_where(amount.frames)}\n\n{latency.report(taken)}"
    save(f"baselines_{resolution}", text, latency.as_data(taken))
    return text


def resolutions(amount: Amount, images: Path) -> str:
    """Latency by resolution."""
    found = scaling.by_resolution(amount.resolutions, scaling.SHOWN_WAYS, amount.scaling_frames)
    lines = {
        WAYS[name].title: [(float(size), ms) for size, ms in medians.items()]
        for name, medians in found["medians_ms"].items()
    }
    plots.draw_lines(
        images / "resolution.png",
        "Latency by the encoder's resolution",
        "side of the encoder's input in pixels",
        "milliseconds a frame (median)",
        lines,
    )
    text = f"{_where(amount.scaling_frames)}\n\n{scaling.resolution_table(found)}"
    save("scaling_resolution", text, found)
    return text


def banks(amount: Amount, images: Path) -> str:
    """Latency by the size of the bank."""
    found = scaling.by_references(amount.references, "auto", "fp32", amount.scaling_frames)
    totals = [spread(times["total"]).p50_ms for times in found["times_ms"]]
    rest = [
        total - spread(times["encode"]).p50_ms if "encode" in times else total
        for total, times in zip(totals, found["times_ms"], strict=True)
    ]
    counts = [float(count) for count in found["references"]]
    plots.draw_lines(
        images / "bank.png",
        "Latency by the size of the bank",
        "references of 1,024 vectors",
        "milliseconds a frame (median)",
        {
            "whole frame": list(zip(counts, totals, strict=True)),
            "without the encoder": list(zip(counts, rest, strict=True)),
        },
        log_x=True,
    )
    text = f"{_where(amount.scaling_frames)} {found['engine']}, fp32.\n\n{scaling.bank_table(found)}"
    save("scaling_bank", text, found)
    return text


def cameras(amount: Amount, images: Path) -> str:
    """Latency by the number of cameras."""
    found = scaling.by_cameras(amount.cameras, "auto", "fp32", 2 * amount.scaling_frames)
    runs = [(float(run["cameras"]), spread(run["times_ms"])) for run in found["runs"]]
    plots.draw_lines(
        images / "cameras.png",
        "Latency by the cameras on one machine",
        "cameras that share one encoder",
        "milliseconds a frame",
        {
            "p50": [(count, times.p50_ms) for count, times in runs],
            "p99": [(count, times.p99_ms) for count, times in runs],
        },
        log_x=True,
    )
    text = f"{_where(2 * amount.scaling_frames)} {found['engine']}, fp32.\n\n{scaling.cameras_table(found)}"
    save("scaling_cameras", text, found)
    return text


def graphs(amount: Amount, _images: Path) -> str:
    """Ways to write the encoder's graph."""
    return encoder_graphs.report(448, ALL_BLOCKS, amount.scaling_frames)


def settings(amount: Amount, _images: Path) -> str:
    """ONNX Runtime's session options."""
    return encoder_graphs.report_settings(448, ALL_BLOCKS, amount.scaling_frames)


def _where(frames: int) -> str:
    facts = describe_machine()
    load = "" if facts.load is None else f", load {facts.load:.1f} at the end"
    return f"Medians of {frames} frames on {machine()['cores']} cores of {facts.cpu}{load}."


Part = Callable[[Amount, Path], str]
PARTS: dict[str, Part] = {
    "baselines-448": lambda amount, images: baselines(amount, 448, images),
    "baselines-224": lambda amount, images: baselines(amount, 224, images),
    "resolution": resolutions,
    "bank": banks,
    "cameras": cameras,
    "encoder-graphs": graphs,
    "encoder-settings": settings,
}


def main() -> None:
    """Measure everything asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--frames", type=int, help="of each way")
    parser.add_argument("--with-anomalib", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--docs", action="store_true", help="write the results into docs/benchmarks.md")
    options = parser.parse_args()
    base = QUICK if options.quick else FULL
    amount = Amount(
        options.frames or base.frames,
        min(options.frames or base.frames, base.scaling_frames),
        base.resolutions,
        base.references,
        base.cameras,
        options.with_anomalib,
    )
    images = OUT / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name in options.parts:
        text = PARTS[name](amount, images)
        if options.docs:
            picture = images / f"{name.replace('-', '_')}.png"
            if picture.is_file():  # a table alone has none
                IMAGES.mkdir(exist_ok=True)
                shutil.copyfile(picture, IMAGES / picture.name)
                text = f"![{name}](benchmarks/{picture.name})\n\n{text}"
            page = fill(PAGE.read_text(encoding="utf-8"), name, text)
            write_atomic(PAGE, page.encode())


if __name__ == "__main__":
    main()
