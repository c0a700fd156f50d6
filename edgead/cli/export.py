"""``edgead export``."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgead.cli.export_engines import BuildFor, build_engines, check_engine
from edgead.cli.export_triton import (
    TritonBackend,
    check_options_fit,
    check_repository,
    serving_options,
    write_repository,
)
from edgead.cli.gate_words import say_gates
from edgead.cli.options import Json, Overwrite, Quiet, parse_layers, parse_names
from edgead.cli.terminal import Terminal

if TYPE_CHECKING:
    from edgead_export.export import ExportOutcome
    from edgead_export.parity import ParityReport


class Resize(str, Enum):
    """Choices of ``--resize``."""

    PAPER = "bicubic-antialias"
    AREA = "area"


class Fit(str, Enum):
    """Choices of ``--fit``."""

    CROP = "crop"
    STRETCH = "stretch"


def export(
    *,
    context: typer.Context,
    backbone: Annotated[str, typer.Option(help="E.g. dinov2_s; a wrong name lists the others.")] = "dinov2_s",
    res: Annotated[
        str, typer.Option(help="Input size in pixels: one side (448) or height x width (448x588).")
    ] = "448",
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N,...",
            help="Blocks whose output is exported, counted from 1; repeat it or separate by commas.",
            show_default="the best one for the weights",
        ),
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Also export the attention of CLS to the patches.")
    ] = False,
    weights: Annotated[
        str, typer.Option(help="auto (cache, then hub, then stand-in), hub, standin, or a weights file.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder to write.", show_default="./BACKBONE_RES")] = None,
    opset: Annotated[int, typer.Option(help="ONNX opset.")] = 17,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Let the batch size be chosen when running.")
    ] = False,
    fuse: Annotated[
        bool,
        typer.Option(
            "--fuse",
            help="Also write frame.onnx, a whole frame as one graph; detectors then run that.",
        ),
    ] = False,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="fp32 (always there), int8, bf16, and for GPUs fp16 and fp8; repeat it or separate by "
            "commas. What does not inspect as fp32 does is left out.",
            show_default="fp32",
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Good pictures of the part: int8 and fp8 are calibrated and every precision judged on them.",
            show_default="the parity pictures",
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Pictures in good/ and folders of defects, or one object of a data set: precisions must "
            "keep their AUROC, too.",
        ),
    ] = None,
    fit: Annotated[
        Fit,
        typer.Option(help="crop: the papers' rule, aspect kept; stretch: squeeze the whole frame in."),
    ] = Fit.CROP,
    resize: Annotated[
        Resize,
        typer.Option(
            help="bicubic-antialias: the papers'; area: several times as fast, nearly the same maps."
        ),
    ] = Resize.PAPER,
    parity_images: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures to compare on.", show_default="four bundled ones"),
    ] = None,
    engine: Annotated[
        BuildFor | None,
        typer.Option(
            help="Write int8 and bf16 as TensorRT takes them, and build engines: tensorrt for the GPU that "
            "is here, tensorrt-rtx for those of --sm.",
            show_default="none",
        ),
    ] = None,
    no_build: Annotated[
        bool,
        typer.Option(
            "--no-build",
            help="With --engine: write the files alone. `edgead-runtime build` then builds where the GPU is.",
        ),
    ] = False,
    sm: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N...", help="GPUs to build for with tensorrt-rtx, by compute capability: 86 89 120."
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write models for NVIDIA's Triton server into this repository. With --detector or "
            "--encoder nothing is traced.",
            show_default="none",
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --triton: serve this .edgead file, good pictures and all."),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --triton: serve an encoder that was exported earlier."),
    ] = None,
    backend: Annotated[
        TritonBackend,
        typer.Option(
            help="With --triton: what runs the model. python runs the detector itself, mask and resize too."
        ),
    ] = TritonBackend.ONNXRUNTIME,
    instances: Annotated[int, typer.Option(help="With --triton: copies that run at the same time.")] = 1,
    max_batch: Annotated[
        int, typer.Option(help="With --triton and --dynamic-batch: most pictures that Triton joins.")
    ] = 8,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn a backbone into an encoder bundle, and check that it computes what torch computes.

    With --triton, write it (or an encoder or detector that is there) for NVIDIA's Triton server.
    """
    from edgead_export.backbones import get_backbone
    from edgead_export.precisions.names import check_precisions
    from edgead_export.resolution import parse_resolution

    from edgead.jobs.bundle_folder import check_bundle_folder
    from edgead.jobs.labelled_pictures import read_labelled

    terminal = Terminal(quiet=quiet, as_json=as_json)
    traced = triton is None or (detector is None and encoder is None)
    check_options_fit(context, triton=triton is not None, traced=traced)
    precisions = check_precisions(parse_names(precision or []))
    serving = (
        None
        if triton is None
        else serving_options(backend, precisions, instances, max_batch, overwrite=overwrite)
    )
    if triton is not None and serving is not None and not traced:
        check_repository(triton, serving, detector=detector, encoder=encoder)
        models = write_repository(terminal, triton, serving, detector=detector, encoder=encoder)
        terminal.result({"triton": models})
        return
    target = out or Path(f"{backbone}_{res.replace(' ', '')}")
    blocks = parse_layers(layers or [])
    check_bundle_folder(target, overwrite=overwrite)
    if triton is not None and serving is not None:
        check_repository(triton, serving, encoder=target)
    # What can be known to be wrong is said before torch takes its seconds to load.
    spec = get_backbone(backbone)
    parse_resolution(res, spec.patch_size)
    if blocks:
        spec.check_layers(blocks)
    if calibrate is not None or labelled is not None:
        check_judged(precisions)
    build = check_engine(engine, sm or [], precisions, no_build=no_build)
    truth = None if labelled is None else read_labelled(labelled)
    terminal.step("loading torch")
    from edgead_export.export import ExportOptions, export_encoder

    outcome = export_encoder(
        ExportOptions(
            backbone=backbone,
            out=target,
            resolution=res,
            layers=blocks,
            attention=attention,
            weights=weights,
            fit=fit.value,
            resize=resize.value,
            opset=opset,
            dynamic_batch=dynamic_batch,
            fuse=fuse,
            precisions=precisions,
            for_tensorrt=engine is not None,
            calibration_images=calibrate,
            labelled=truth,
            parity_images=parity_images,
            overwrite=overwrite,
            progress=not quiet,
        ),
        stage=terminal.step,
        note=terminal.warn,
    )
    say_parity(terminal, outcome.parity)
    say_gates(terminal, outcome.parity.gates)
    terminal.say(f"Wrote {outcome.path} in {outcome.seconds:.0f} s.")
    built = [] if build is None else build_engines(terminal, target, outcome.manifest, precisions, *build)
    models = (
        []
        if triton is None or serving is None
        else write_repository(terminal, triton, serving, encoder=outcome.path)
    )
    terminal.say(
        f"Enrol good pictures with: edgead enroll --encoder {shlex.quote(str(outcome.path))} "
        "--good FOLDER -o part.edgead"
    )
    # The first of them under the older name as well, for whoever built one engine.
    engine_summary = {"engine": built[0] if built else None, "engines": built}
    terminal.result({**_summary(outcome), **engine_summary, "triton": models})


def check_judged(precisions: tuple[str, ...]) -> None:
    """Refuse pictures that nothing would be judged on.

    Raises:
        EdgeadError: Only fp32 is asked for.
    """
    from edgead_runtime.errors import EdgeadError

    if precisions == ("fp32",):
        raise EdgeadError(
            "--calibrate and --labelled judge other precisions than fp32",
            "Add, for example, --precision int8.",
        )


def say_parity(terminal: Terminal, report: ParityReport) -> None:
    """Print how far the ONNX file is from torch, picture by picture."""
    width = max(len(row.picture) for row in report.rows)
    terminal.say(f"Parity of the {report.precision} ONNX file ({report.engine}) with {report.reference}:")
    terminal.say(f"  {'picture':<{width}}  output           cosine min  rank correlation  score error")
    for row in report.rows:
        terminal.say(
            f"  {row.picture:<{width}}  {row.output:<15}  {row.cosine_min:10.6f}  "
            f"{row.rank_correlation:16.6f}  {row.score_error:10.4%}"
        )
    verdict = "agrees" if report.passed else "does NOT agree"
    terminal.say(f"  It {verdict} with torch (limit: cosine min {report.limits.cosine_min}).")
    if report.frame is not None:
        frame = report.frame
        terminal.say(
            f"  The frame graph agrees with the stages: distances within {frame.distance_error_max:.1e}, "
            f"scores {frame.score_error_max:.1e}, maps {frame.map_error_max:.1e}."
        )


def _summary(outcome: ExportOutcome) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        "encoder": str(outcome.path),
        "fingerprint": outcome.manifest.fingerprint(),
        "manifest": to_builtins(outcome.manifest),
        "parity": to_builtins(outcome.parity),
        "notes": list(outcome.notes),
        "seconds": round(outcome.seconds, 1),
    }
