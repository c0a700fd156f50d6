"""``edgead bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgead.cli.options import Engine, EnginePrecision, Index, Json, Overwrite, Precision, Quiet, Threads
from edgead.cli.terminal import Terminal


def bench(
    *,
    detector_file: Annotated[
        Path, typer.Argument(metavar="DETECTOR", help="The .edgead file from `enroll`.")
    ],
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PICTURES",
            help="Pictures, or folders of them.",
            show_default="the detector's own good pictures",
        ),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Encoder bundle.", show_default="inside the detector, or where it was enrolled"),
    ] = None,
    engine: Engine = "auto",
    precision: Precision = EnginePrecision.FP32,
    threads: Threads = None,
    index: Index = "auto",
    frames: Annotated[int, typer.Option(help="Frames that are timed, one after another.")] = 200,
    warm_up: Annotated[int, typer.Option(help="Frames before the first that is timed.")] = 20,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTIONS",
            help='Measure another setting in turns with this one, such as "--engine onnxruntime", '
            '"--precision bf16", "--threads 1", "--index exact" or '
            '"--detector other.edgead"; may be repeated.',
        ),
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Accept pictures of another size than the good ones.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file to write.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Picture to draw, .png or .svg.")] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Compare two JSON files instead: edgead bench --diff A B.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure what this machine does: latency by stage, throughput, memory and start-up.

    Pictures are decoded before the clock starts: a frame's time is from pixels in memory to score and map.
    """
    terminal = Terminal(quiet=quiet, as_json=as_json)
    if diff:
        _say_difference(terminal, [detector_file, *(pictures or [])])
        return
    import msgspec

    from edgead.jobs.bench.picture import check_files, write_picture
    from edgead.jobs.bench.record import write_bench
    from edgead.jobs.bench.run import BenchPlan, run_bench
    from edgead.jobs.bench.settings import Setting
    from edgead.jobs.bench.words import bench_lines

    check_files(out, picture, overwrite=overwrite)
    plan = BenchPlan(
        setting=Setting(
            detector=detector_file,
            encoder=encoder,
            engine=engine,
            precision=precision.value,
            threads=threads,
            index=index,
            any_size=any_size,
        ),
        pictures=tuple(pictures or ()),
        frames=frames,
        warm_up=warm_up,
        compare=tuple(compare or ()),
    )
    with terminal.progress() as progress:
        result = run_bench(plan, progress)
    if out is not None:
        write_bench(out, result)
    if picture is not None:
        write_picture(picture, result)
    for line in bench_lines(result):
        terminal.say(line)
    for remark in result.remarks:
        terminal.warn(remark)
    summary = msgspec.to_builtins(result)
    for measured in (summary["measurement"], *(each["measurement"] for each in summary["comparisons"])):
        del measured["frames_ms"]  # those are for the file
    terminal.result(summary)


def _say_difference(terminal: Terminal, files: list[Path]) -> None:
    from edgead_runtime.errors import EdgeadError

    from edgead.jobs.bench.difference import difference
    from edgead.jobs.bench.record import read_bench
    from edgead.jobs.bench.words import difference_lines

    if len(files) != 2:
        raise EdgeadError(
            f"--diff compares two files, not {len(files)}", "Write: edgead bench --diff one.json other.json"
        )
    found = difference(*map(read_bench, files))
    for line in difference_lines(found, [str(path) for path in files]):
        terminal.say(line)
    terminal.result(found.summary())
