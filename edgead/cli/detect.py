"""``edgead detect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgead.cli import exit_codes
from edgead.cli.options import (
    Engine,
    EnginePrecision,
    Index,
    Json,
    Overwrite,
    Precision,
    Quiet,
    Rebuild,
    Threads,
)
from edgead.cli.terminal import Terminal, warn_passed_over

if TYPE_CHECKING:
    from edgead.jobs.detect import Detection


def detect(
    *,
    detector_file: Annotated[
        Path, typer.Argument(metavar="DETECTOR", help="The .edgead file from `enroll`.")
    ],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURES", help="Pictures, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    encoder: Annotated[
        Path | None,
        typer.Option(help="Encoder bundle.", show_default="inside the detector, or where it was enrolled"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Call scores above this anomalous.", show_default="the calibrated one"),
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Accept pictures of another size than the good ones.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first picture that cannot be inspected.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            help="Milliseconds that a picture may take: a faster setting is taken while it must be (`edgead "
            "tune` finds and stores them).",
            show_default="none: always the full setting",
        ),
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade",
            help="Look with the small encoder that `edgead tune` stored first, and with the full one where "
            "that leaves a doubt.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show each spot beside what comes nearest to it in the good pictures."
        ),
    ] = False,
    report_limit: Annotated[
        int, typer.Option(min=0, help="Pictures that the report shows with images, highest scores first.")
    ] = 200,
    overwrite: Overwrite = False,
    engine: Engine = "auto",
    precision: Precision = EnginePrecision.FP32,
    threads: Threads = None,
    index: Index = "auto",
    rebuild: Rebuild = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Inspect pictures: scores, overlays and a report that opens without a network.

    OUT gets report.html, results.jsonl, results.csv and overlays/. It appears whole or not at all.
    """
    from edgead_runtime import Detector
    from edgead_runtime.files import sha256_file

    from edgead.jobs.detect import detect_pictures
    from edgead.jobs.results_folder import check_results_folder, pictures_to_inspect

    terminal = Terminal(quiet=quiet, as_json=as_json)
    check_results_folder(out, overwrite=overwrite)
    paths = pictures_to_inspect(pictures, out)
    warn_passed_over(terminal, pictures)
    with Detector.load(
        detector_file,
        encoder=encoder,
        engine=engine,
        threads=threads,
        precision=precision.value,
        index=index,
        rebuild=rebuild,
        any_size=any_size,
        budget_ms=budget,
        cascade=cascade,
    ) as detector:
        if detector.index.measured:
            terminal.say(f"The bank is searched by --index {detector.index.index}: {detector.index.reason}.")
        if budget is not None:
            for note in (*detector.encoder.remarks, *detector.budget_notes):
                terminal.warn(note)
        if threshold is not None:
            detector.set_threshold(threshold)
        if not detector.provenance.official_weights:
            terminal.warn(f"these are not the official weights: {detector.provenance.weights}")
        with terminal.progress() as progress:
            detection = detect_pictures(
                detector,
                detector_file.name,
                sha256_file(detector_file),
                paths,
                out,
                overwrite=overwrite,
                strict=strict,
                explain=explain,
                report_limit=report_limit,
                progress=progress,
            )
    terminal.say(
        f"{len(detection.inspected)} inspected, {detection.anomalies} anomalous. Open {detection.report}"
    )
    if budget is not None:
        say_budget(terminal, detection, budget)
    say_failed(terminal, detection)
    terminal.result(detection.summary())
    raise typer.Exit(exit_code(detection))


def say_failed(terminal: Terminal, detection: Detection) -> None:
    """List the pictures that could not be inspected."""
    if not detection.failed:
        return
    terminal.warn(f"{len(detection.failed)} could not be inspected:")
    for record in detection.failed:
        terminal.warn(f"  {record.file}: {record.problem}. {record.remedy}")


def say_budget(terminal: Terminal, detection: Detection, budget_ms: float) -> None:
    """Say how many pictures a faster setting looked at."""
    degraded = sum(bool(record.degraded) for record in detection.inspected)
    terminal.say(
        f"Budget of {budget_ms:g} ms: {degraded} of {len(detection.inspected)} inspected "
        "with a faster setting."
    )


def exit_code(detection: Detection) -> int:
    """What the outcome means to a script."""
    if detection.failed:
        return exit_codes.WRONG
    return exit_codes.ANOMALOUS if detection.anomalies else exit_codes.OK
