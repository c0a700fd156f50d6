"""``edgead verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgead.cli import exit_codes
from edgead.cli.gate_words import say_gates
from edgead.cli.options import Engine, EnginePrecision, Json, Precision, Quiet, Threads
from edgead.cli.terminal import Terminal

if TYPE_CHECKING:
    from edgead_runtime.encoder_bundle import EncoderBundle
    from edgead_runtime.manifest import Precision as PrecisionName


def verify(
    *,
    encoder: Annotated[
        Path, typer.Argument(metavar="ENCODER", help="Encoder bundle, the folder from `export`.")
    ],
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
    bisect: Annotated[
        bool,
        typer.Option(
            "--bisect", help="Instead of judging, show after which block it begins to compute something else."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Whether an encoder inspects here, in this engine and precision, as it does in fp32 in ONNX Runtime."""
    from edgead_runtime.encoder_bundle import EncoderBundle
    from edgead_runtime.errors import EdgeadError
    from msgspec import to_builtins

    from edgead.jobs.labelled_pictures import read_labelled
    from edgead.jobs.verify import verify_encoder

    terminal = Terminal(quiet=quiet, as_json=as_json)
    if bisect and labelled is not None:
        raise EdgeadError("--labelled is for judging, which --bisect is instead of", "Leave one of them out.")
    bundle = EncoderBundle.open(encoder)
    if bisect:
        return _bisect(terminal, bundle, precision.value, engine, threads, good)
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


def _bisect(
    terminal: Terminal,
    bundle: EncoderBundle,
    precision: PrecisionName,
    engine: str,
    threads: int | None,
    good: Path | None,
) -> int:
    from msgspec import to_builtins

    from edgead.jobs.bisect import bisect

    terminal.step("comparing block by block")
    found = bisect(bundle, precision, engine=engine, threads=threads, pictures=good)
    terminal.say(
        f"{found.engine} in {found.precision} against fp32 in ONNX Runtime, {found.pictures} pictures, "
        "cosine of a token:"
    )
    width = max(len(row.stage) for row in found.stages)
    terminal.say(f"  {'after':<{width}}      mean     worst")
    for row in found.stages:
        below = f"  below {found.limit}" if row.cosine_min < found.limit else ""
        terminal.say(f"  {row.stage:<{width}}  {row.cosine_mean:8.5f}  {row.cosine_min:8.5f}{below}")
    terminal.say(
        f"No token is below {found.limit}."
        if found.first_below is None
        else f"The first that is below {found.limit} comes out of: {found.first_below}."
    )
    terminal.result({"encoder": str(bundle.source), **to_builtins(found)})
    return exit_codes.OK if found.first_below is None else exit_codes.WRONG
