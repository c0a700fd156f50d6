"""``edgead run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgead.cli import exit_codes
from edgead.cli.options import EnginePrecision


def run_command(
    *,
    detector_file: Annotated[
        Path | None, typer.Argument(metavar="DETECTOR", help="The .edgead file from `enroll`.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="rtsp://..., a camera's number, a GStreamer pipeline, watch:FOLDER, a video, a folder, a "
            "picture, or play:VIDEO or play:FOLDER (as a camera, over and over)."
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Milliseconds from capture to verdict.", show_default="none")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with cameras, rules and sinks (--print-config).")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the camera of --source.", show_default="camera")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Encoder bundle.", show_default="inside the detector, or where it was enrolled"),
    ] = None,
    hits: Annotated[
        int | None, typer.Option(min=1, help="How many anomalous frames open an event.", show_default="1")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="Of how many frames --hits are counted.", show_default="as many as --hits"),
    ] = None,
    events: Annotated[Path | None, typer.Option(help="Write events to this JSONL file.")] = None,
    learn: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Learn good parts on the line, and keep what was taught in this folder.",
            show_default="nothing is learned",
        ),
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Serve a page with the live picture there, e.g. 8675. On another host than this machine it "
            "asks for a token, which is printed.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="auto (the one that measures fastest here), onnxruntime, openvino or tensorrt.",
            show_default="the configuration's, or auto",
        ),
    ] = None,
    precision: Annotated[
        EnginePrecision | None,
        typer.Option(
            help="As for `detect`: bf16, or int8 and fp16 where the encoder was exported with them.",
            show_default="the configuration's, or fp32",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads of the engine.", show_default="the configuration's, or the engine's choice"
        ),
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON, on stderr.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print an example with every field, and end.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Say what would run, try each detector and source with a frame, and end."
        ),
    ] = False,
) -> None:
    """Inspect cameras until they end or you end it (Ctrl-C), and tell sinks what happens.

    One camera by DETECTOR and --source, or any number by --config. Events wait in an outbox on disk until
    every sink has them. docs/loop.md has it all.
    """
    import logging

    from edgead_runtime.errors import ConfigError, EdgeadError
    from edgead_runtime.service.checking import check_loop
    from edgead_runtime.service.config import load_config
    from edgead_runtime.service.example import example_config
    from edgead_runtime.service.logs import logging_to_stderr
    from edgead_runtime.service.run import run_loop
    from edgead_runtime.service.tables import LoopConfig

    from edgead.jobs.run import CommandLineCamera, with_command_line

    if print_config:
        typer.echo(example_config(), nl=False)
        return
    if (detector_file is None) != (source is None):
        raise ConfigError("a detector and a --source belong together", "Give both, or --config alone.")
    of_camera = {"--budget": budget, "--encoder": encoder, "--window": window, "--hits": hits, "--name": name}
    if source is None and (useless := [option for option, value in of_camera.items() if value is not None]):
        raise ConfigError(
            f"{useless[0]} is of the camera that --source gives, and there is none",
            "Put it into the configuration, under [[camera]].",
        )
    loaded = LoopConfig() if config is None else load_config(config)
    given = None
    if detector_file is not None and source is not None:
        given = CommandLineCamera(
            name=name or "camera",
            detector=detector_file,
            source=source,
            encoder=encoder,
            budget_ms=budget,
            hits=hits or 1,
            window=window or hits or 1,
        )
    base = Path.cwd() if config is None else config.resolve().parent
    complete = with_command_line(
        loaded,
        given,
        events=events,
        view=view,
        engine=engine,
        precision=None if precision is None else precision.value,
        threads=threads,
        learn=learn,
    )
    if check:
        typer.echo("the configuration is valid")
        check_loop(complete, base, typer.echo)
        typer.echo("it would run")
        return
    as_json = log_json or loaded.log.json
    with logging_to_stderr(as_json=as_json, level=loaded.log.level):
        try:
            run_loop(complete, base)
        except EdgeadError as error:
            if not as_json:
                raise
            logging.getLogger("edgead.run").error("%s", error)  # noqa: TRY400
            raise typer.Exit(exit_codes.WRONG) from error
