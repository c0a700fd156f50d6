"""``edgead demo``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgead.cli.detect import say_failed
from edgead.cli.enroll import say_enrollment
from edgead.cli.options import Json, Quiet, Threads
from edgead.cli.terminal import Terminal

if TYPE_CHECKING:
    from edgead.evaluation.labelled import LabelledOutcome
    from edgead.jobs.detect import Detection


def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the demo.")] = Path("edgead-demo"),
    res: Annotated[int, typer.Option(help="Side of the encoder's input in pixels.")] = 448,
    weights: Annotated[str, typer.Option(help="auto, hub, standin or a file, as for `export`.")] = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Export, enrol and detect on real pictures of solar cells, and say how well it went.

    Weights and pictures are fetched once and kept. It ends with 0 when it ran, whatever it found.
    """
    from edgead import demo_data

    terminal = Terminal(quiet=quiet, as_json=as_json)
    terminal.say(demo_data.LICENCE)
    terminal.step("loading torch")
    from edgead.evaluation.labelled import judge
    from edgead.jobs.demo import DemoOptions, run_demo

    started = time.monotonic()
    with terminal.progress() as progress:
        outcome = run_demo(
            DemoOptions(
                folder=out, resolution=res, weights=weights, threads=threads, show_downloads=not quiet
            ),
            step=terminal.step,
            warn=terminal.warn,
            progress=progress,
        )
    seconds = time.monotonic() - started
    detection = outcome.detection
    judged = judge(detection.inspected, detection.labels)
    terminal.say()
    say_enrollment(terminal, outcome.detector, outcome.plan)
    terminal.say()
    for sentence in judged.sentences():
        terminal.say(sentence)
    say_latency(terminal, detection)
    if not outcome.detector.provenance.official_weights:
        terminal.say("The weights are a stand-in, so this is not the accuracy of DINOv2.")
    say_failed(terminal, detection)
    terminal.say()
    terminal.say(f"Done in {seconds:.0f} s. Open {detection.report}")
    terminal.result(_summary(detection, judged, seconds))


def say_latency(terminal: Terminal, detection: Detection) -> None:
    """Print the median time of each stage."""
    from edgead.evaluation.latency import stage_latencies

    parts = [f"{latency.stage} {latency.p50_ms:.1f}" for latency in stage_latencies(detection.records)]
    terminal.say(f"Median time per picture in ms: {', '.join(parts)}.")


def _summary(detection: Detection, judged: LabelledOutcome, seconds: float) -> dict[str, Any]:
    return {**detection.summary(), **asdict(judged), "seconds": round(seconds, 1)}
