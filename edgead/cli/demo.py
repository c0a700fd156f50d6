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
    from edgead.jobs.demo import DemoOptions
    from edgead.jobs.detect import Detection


def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the demo.")] = Path("edgead-demo"),
    res: Annotated[int, typer.Option(help="Side of the encoder's input in pixels.")] = 448,
    weights: Annotated[str, typer.Option(help="auto, hub, standin or a file, as for `export`.")] = "auto",
    threads: Threads = None,
    live: Annotated[
        bool, typer.Option("--live", help="Play the pictures as a camera, with the live view open.")
    ] = False,
    view: Annotated[
        str, typer.Option(metavar="[HOST:]PORT", help="Where --live serves the page; 0: any free port.")
    ] = "8675",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page of --live in a browser.")
    ] = True,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="End --live after so long.", show_default="Ctrl-C ends it")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Export, enrol and detect on real pictures of solar cells, and say how well it went.

    Weights and pictures are fetched once and kept. It ends with 0 when it ran, whatever it found. With --live
    the cells pass a camera, one a second, and a page shows what the detector sees.
    """
    from edgead import demo_data

    terminal = Terminal(quiet=quiet, as_json=as_json)
    terminal.say(demo_data.LICENCE)
    terminal.step("loading torch")
    from edgead.evaluation.labelled import judge
    from edgead.jobs.demo import DemoOptions, run_demo

    options = DemoOptions(
        folder=out, resolution=res, weights=weights, threads=threads, show_downloads=not quiet
    )
    if live:
        _show_live(terminal, options, view, browser=browser, seconds=seconds)
        return
    started = time.monotonic()
    with terminal.progress() as progress:
        outcome = run_demo(
            options,
            step=terminal.step,
            warn=terminal.warn,
            progress=progress,
        )
    took = time.monotonic() - started
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
    terminal.say(f"Done in {took:.0f} s. Open {detection.report}")
    terminal.result(_summary(detection, judged, took))


def _show_live(
    terminal: Terminal, options: DemoOptions, view: str, *, browser: bool, seconds: float | None
) -> None:
    import webbrowser

    from edgead.jobs.demo_live import LiveOptions, run_live_demo
    from edgead.jobs.run import view_address

    host, port = view_address(view)
    shown = ""

    def ready(url: str) -> None:
        nonlocal shown
        shown = url
        terminal.say(f"Open {url}" + ("" if seconds else " (Ctrl-C ends it)"))
        if browser:
            webbrowser.open(url)

    with terminal.progress() as progress:
        stats = run_live_demo(
            options,
            LiveOptions(host or LiveOptions.host, port, seconds),
            step=terminal.step,
            warn=terminal.warn,
            ready=ready,
            progress=progress,
        )
    terminal.say(f"{stats.inspected} cells inspected, {stats.anomalies} anomalous.")
    terminal.result({"url": shown, "inspected": stats.inspected, "anomalies": stats.anomalies})


def say_latency(terminal: Terminal, detection: Detection) -> None:
    """Print the median time of each stage."""
    from edgead.evaluation.latency import stage_latencies

    parts = [f"{latency.stage} {latency.p50_ms:.1f}" for latency in stage_latencies(detection.records)]
    terminal.say(f"Median time per picture in ms: {', '.join(parts)}.")


def _summary(detection: Detection, judged: LabelledOutcome, seconds: float) -> dict[str, Any]:
    return {**detection.summary(), **asdict(judged), "seconds": round(seconds, 1)}
