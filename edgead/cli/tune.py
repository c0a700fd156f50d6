"""``edgead tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgead.cli import exit_codes
from edgead.cli.options import Json, Overwrite, Quiet, Threads
from edgead.cli.terminal import Terminal

EXPLANATION = (
    "Exit codes: 0 a setting holds the budget; 1 none does (the fastest is stored); 2 something was wrong "
    "with the input or the machine; 70 a bug in edgead; 130 interrupted."
)


def tune(
    *,
    detector_file: Annotated[
        Path, typer.Argument(metavar="DETECTOR", help="The .edgead file from `enroll`.")
    ],
    budget: Annotated[float, typer.Option(metavar="MS", help="Milliseconds that a frame may take, at p99.")],
    encoder: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Bundle of a smaller encoder, the same backbone and weights with another --res; "
            "may be repeated.",
            show_default="the detector's own alone",
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Engine to try; may be repeated.", show_default="all that are installed"
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="The folder of good pictures that set the detector's threshold at enrolment, if there was "
            "one: its file does not keep them."
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames that are timed of each setting.")] = 100,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write a tuned copy instead.", show_default="into the detector's file"
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="JSON of everything measured.", show_default="NAME.tune.json beside the detector"),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Picture, .png or .svg.", show_default="NAME.tune.png beside the detector"),
    ] = None,
    overwrite: Overwrite = False,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the setting that holds a latency budget here: measure, choose, and store it in the detector.

    `Detector.load(path, budget_ms=MS)` and `edgead detect --budget MS` then begin with it, and change to
    another while the machine is slower or quicker than it was.
    """
    import msgspec
    from edgead_runtime import read_picture

    from edgead.jobs.bench.picture import check_files
    from edgead.jobs.enroll import good_pictures
    from edgead.jobs.output_files import check_all_different, check_output_file
    from edgead.jobs.tune.picture import write_picture
    from edgead.jobs.tune.record import write_tune
    from edgead.jobs.tune.run import TunePlan, run_tune
    from edgead.jobs.tune.words import tune_lines

    terminal = Terminal(quiet=quiet, as_json=as_json)
    tuned = out or detector_file
    record = record or tuned.with_suffix(".tune.json")
    picture = picture or tuned.with_suffix(".tune.png")
    is_copy = tuned.resolve() != detector_file.resolve()
    check_all_different(
        {
            "the detector": detector_file,
            "--out": tuned if is_copy else None,
            "--record": record,
            "--picture": picture,
        }
    )
    if is_copy:
        check_output_file(tuned, overwrite=overwrite)
    check_files(record, picture, overwrite=overwrite)
    plan = TunePlan(
        detector=detector_file,
        out=tuned,
        budget_ms=budget,
        encoders=tuple(encoder or ()),
        engines=tuple(engine or ()),
        threads=threads,
        frames=frames,
        calibration_good=()
        if calibrate is None
        else tuple(read_picture(path) for path in good_pictures(calibrate)),
    )
    with terminal.progress() as progress:
        found, tuned = run_tune(plan, progress)
    write_tune(record, found)
    write_picture(picture, found)
    for line in tune_lines(found):
        terminal.say(line)
    for remark in found.remarks:
        terminal.warn(remark)
    terminal.say(f"Stored in {tuned}. Everything measured: {record}, {picture}")
    summary = msgspec.to_builtins(found)
    for row in summary["rows"]:
        del row["frames_ms"]  # those are for the file
    terminal.result({**summary, "out": str(tuned), "record": str(record), "picture": str(picture)})
    raise typer.Exit(exit_codes.OK if found.holds else exit_codes.MISSED)
