"""``edgead export``: backbone, weights and resolution in; a verified encoder bundle out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import onnx
from edgead_runtime.files import atomic_folder, sha256_bytes
from edgead_runtime.frame_graph import block_rows_for
from edgead_runtime.manifest import (
    ENCODER_SCHEMA_VERSION,
    AttentionOutput,
    EncoderFile,
    EncoderInput,
    EncoderManifest,
    FeatureOutput,
    Fit,
    FrameFile,
    Interpolation,
    Precision,
    Preprocess,
    encode_manifest,
)

from edgead_export._version import __version__
from edgead_export.backbones import BackboneSpec, get_backbone
from edgead_export.encoder_module import ATTENTION_OUTPUT, PatchEncoder, feature_output
from edgead_export.errors import PrecisionError
from edgead_export.frame_parity import compare_frame
from edgead_export.fusing import fuse, fused_feature
from edgead_export.parity import ParityReport, compare, parity_pictures
from edgead_export.parity_picture import draw_parity
from edgead_export.resolution import Resolution, parse_resolution
from edgead_export.tracing import (
    DEFAULT_OPSET,
    INPUT_NAME,
    check_file_size,
    check_opset,
    finish,
    trace,
)
from edgead_export.weights.loading import build_model
from edgead_export.weights.sources import LoadedWeights, load_weights

Say = Callable[[str], None]

_FILE_NAME = "encoder.onnx"
_FRAME_FILE_NAME = "frame.onnx"
# Asked as modules: onnxruntime comes in several distributions.
_TOOLS = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class ExportOptions:
    """What to export and where to."""

    backbone: str
    out: Path
    resolution: str = "448"
    """One side or height x width, in pixels."""
    layers: tuple[int, ...] = ()
    """Blocks, counted from 1; empty for the weights' default."""
    attention: bool = False
    weights: str = "auto"
    """``auto``, ``hub``, ``standin`` or a file."""
    precision: str = "fp32"
    fit: Fit = "crop"
    resize: Interpolation = "bicubic-antialias"
    """The papers', or a cheaper one; detectors resize their good pictures and their frames alike."""
    opset: int = DEFAULT_OPSET
    dynamic_batch: bool = False
    fuse: bool = False
    """Also write the frame graph: a whole frame, from bytes to score and map."""
    parity_images: Path | None = None
    overwrite: bool = False
    progress: bool = True
    """Show downloads."""


@dataclass(frozen=True)
class ExportOutcome:
    """A bundle that was written."""

    path: Path
    manifest: EncoderManifest
    parity: ParityReport
    notes: tuple[str, ...]
    """Sentences the user should see: rounding, the stand-in, a hub that could not be reached."""
    seconds: float


# A later precision is one more entry: it makes its graph from the fp32 one.
PRECISIONS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {"fp32": lambda traced: traced}
_PLANNED = ("fp16", "int8")


def export_encoder(
    options: ExportOptions, *, stage: Say = lambda _: None, note: Say = lambda _: None
) -> ExportOutcome:
    """Make an encoder bundle. The folder appears whole, or not at all.

    Args:
        options: What to export.
        stage: Called with what begins now, e.g. ``tracing``.
        note: Called at once with each sentence of :attr:`ExportOutcome.notes`.

    Raises:
        EdgeadError: See the classes in :mod:`edgead_export.errors`; ``OutputError`` where the folder
            cannot be written, ``PictureError`` for a parity picture.
    """
    started = time.monotonic()
    notes: list[str] = []

    def say(sentence: str) -> None:
        notes.append(sentence)
        note(sentence)

    spec = get_backbone(options.backbone)
    resolution = parse_resolution(options.resolution, spec.patch_size)
    _check_precision(options.precision)
    check_opset(options.opset)
    if options.layers:
        spec.check_layers(options.layers)
    check_file_size(spec, options.layers or (spec.depth,))
    if resolution.message:
        say(resolution.message)
    # Entered first, so that a folder that cannot be written is known before a download.
    with atomic_folder(options.out, overwrite=options.overwrite) as folder:
        stage("weights")
        weights = load_weights(spec, options.weights, warn=say, progress=options.progress)
        manifest, report = build_bundle(folder, spec, weights, resolution, options, stage=stage)
    return ExportOutcome(options.out, manifest, report, tuple(notes), time.monotonic() - started)


def build_bundle(
    folder: Path,
    spec: BackboneSpec,
    weights: LoadedWeights,
    resolution: Resolution,
    options: ExportOptions,
    *,
    stage: Say = lambda _: None,
) -> tuple[EncoderManifest, ParityReport]:
    """Trace, check and compare, then fill ``folder``. Nothing is written unless the file agrees.

    Raises:
        WeightsError: The weights do not fit the backbone.
        TraceError: The encoder cannot be written as ONNX.
        ParityError: A file does not compute what torch does.
    """
    size = resolution.height, resolution.width
    layers = options.layers or (weights.default_layer,)
    pictures = parity_pictures(options.parity_images)
    encoder = PatchEncoder(
        build_model(spec, weights.state, weights.record.source),
        spec,
        size=size,
        layers=layers,
        normalized=weights.normalized_layers(spec, layers),
        attention=options.attention,
        position_rule=weights.position_rule,
    )
    stage("tracing")
    model = PRECISIONS[options.precision](
        trace(encoder, size, opset=options.opset, dynamic_batch=options.dynamic_batch)
    )
    draft = _draft_manifest(spec, weights, size, layers, options)
    stage("checking")
    onnx_file = finish(model, _metadata(draft))
    stage("parity")
    report, maps = compare(encoder, onnx_file, draft, pictures, options.precision)
    report.require_passed()
    frame_file = b""
    if options.fuse:
        stage("fusing")
        frame_file = finish(fuse(model, draft), {**_metadata(draft), "edgead.graph": "frame"})
        report = replace(report, frame=compare_frame(frame_file, onnx_file, draft, pictures))
        report.require_passed()
    stage("writing")
    manifest = msgspec.structs.replace(
        draft,
        files=[
            EncoderFile(
                precision=_check_precision(options.precision),
                path=_FILE_NAME,
                sha256=sha256_bytes(onnx_file),
                bytes=len(onnx_file),
            )
        ],
        frame=_frame_entry(draft, frame_file, options) if options.fuse else None,
    )
    (folder / _FILE_NAME).write_bytes(onnx_file)
    if options.fuse:
        (folder / _FRAME_FILE_NAME).write_bytes(frame_file)
    (folder / "parity.json").write_bytes(report.to_json())
    drawn = BytesIO()
    draw_parity(report, maps).save(drawn, "PNG")
    (folder / "parity.png").write_bytes(drawn.getvalue())
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return manifest, report


def _frame_entry(manifest: EncoderManifest, data: bytes, options: ExportOptions) -> FrameFile:
    return FrameFile(
        precision=_check_precision(options.precision),
        path=_FRAME_FILE_NAME,
        sha256=sha256_bytes(data),
        bytes=len(data),
        layer=fused_feature(manifest).layer,
        block_rows=block_rows_for(math.prod(manifest.grid)),
    )


def _check_precision(precision: str) -> Precision:
    if precision in PRECISIONS:
        checked: Precision = msgspec.convert(precision, Precision)
        return checked
    if precision in _PLANNED:
        raise PrecisionError(f"precision {precision} is not there yet", "Export fp32.")
    raise PrecisionError(f"unknown precision '{precision}'", f"Choose from: {', '.join(PRECISIONS)}.")


def _draft_manifest(
    spec: BackboneSpec,
    weights: LoadedWeights,
    size: tuple[int, int],
    layers: tuple[int, ...],
    options: ExportOptions,
) -> EncoderManifest:
    """The manifest but for the file, whose hash depends on the rest."""
    normalized = weights.normalized_layers(spec, layers)
    return EncoderManifest(
        schema_version=ENCODER_SCHEMA_VERSION,
        kind="edgead-encoder",
        backbone=spec.name,
        input=EncoderInput(
            name=INPUT_NAME, height=size[0], width=size[1], dynamic_batch=options.dynamic_batch
        ),
        preprocess=Preprocess(mean=spec.mean, std=spec.std, interpolation=options.resize, fit=options.fit),
        patch_size=spec.patch_size,
        features=[
            FeatureOutput(
                name=feature_output(layer),
                layer=layer,
                dim=spec.hidden_size,
                final_norm=layer in normalized,
            )
            for layer in layers
        ],
        attention=AttentionOutput(name=ATTENTION_OUTPUT, layer=max(layers)) if options.attention else None,
        files=[],
        weights=weights.record,
        opset=options.opset,
        tools={"edgead-export": __version__}
        | {tool: str(import_module(tool).__version__) for tool in _TOOLS},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        pca_mask_threshold=weights.pca_mask_threshold if layers == (spec.depth,) else None,
    )


def _metadata(manifest: EncoderManifest) -> dict[str, str]:
    """What the ONNX file says of itself.

    Its own hash cannot be in it; the date and the tools are left out, so that the same export gives the
    same bytes and thereby the same fingerprint.
    """
    facts: dict[str, Any] = msgspec.to_builtins(manifest)
    for field in ("files", "frame", "created", "tools"):
        del facts[field]
    return {
        "edgead": msgspec.json.encode(facts).decode(),
        "edgead.backbone": manifest.backbone,
        "edgead.resolution": f"{manifest.input.height}x{manifest.input.width}",
        "edgead.layers": ",".join(str(feature.layer) for feature in manifest.features),
        "edgead.weights": manifest.weights.source,
        "edgead.official_weights": str(manifest.weights.official).lower(),
        "edgead.licence": manifest.weights.licence,
    }
