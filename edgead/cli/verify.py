"""``edgead verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgead.cli import exit_codes
from edgead.cli.gate_words import say_gates
from edgead.cli.options import Engine, EnginePrecision, Json, Precision, Quiet, Threads
from edgead.cli.terminal import Terminal


def verify(
    *,
    encoder: Annotated[Path, typer.Argument(help="Encoder bundle.")],
    precision: Precision = EnginePrecision.FP32,
    engine: Engine = "auto",
    threads: Threads = None,
    good: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Good pictures of one part to judge on.", show_default="four bundled ones"
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures in good/ and folders of defects: judge the AUROC too."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Whether an encoder inspects here, in this engine and precision, as it does in fp32 in ONNX Runtime."""
    from edgead_runtime.encoder_bundle import EncoderBundle
    from msgspec import to_builtins

    from edgead.jobs.labelled_pictures import read_labelled
    from edgead.jobs.verify import verify_encoder

    terminal = Terminal(quiet=quiet, as_json=as_json)
    bundle = EncoderBundle.open(encoder)
    truth = None if labelled is None else read_labelled(labelled)
    terminal.step("comparing")
    found = verify_encoder(bundle, precision.value, engine=engine, threads=threads, good=good, labelled=truth)
    say_gates(terminal, found.reports)
    for report in found.reports:
        for failure in report.failures:
            terminal.warn(f"{report.precision} in {report.engine}: {failure}")
    if found.passed:
        terminal.say("It inspects as fp32 does, in every way that detectors take.")
    first, *others = to_builtins(found.reports)
    terminal.result({"encoder": str(encoder), "report": first, "others": others, "passed": found.passed})
    return exit_codes.OK if found.passed else exit_codes.WRONG
