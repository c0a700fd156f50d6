"""``edgead export``: backbone, weights and resolution in; a verified encoder bundle out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
from edgead_runtime.agreement import LabelledPictures
from edgead_runtime.files import atomic_folder
from edgead_runtime.images import Picture
from edgead_runtime.manifest import (
    ENCODER_SCHEMA_VERSION,
    AttentionOutput,
    EncoderInput,
    EncoderManifest,
    FeatureOutput,
    Fit,
    Interpolation,
    Precision,
    Preprocess,
    encode_manifest,
)

from edgead_export._version import __version__
from edgead_export.backbones import BackboneSpec, get_backbone
from edgead_export.bundle_files import BundleFiles
from edgead_export.encoder_module import ATTENTION_OUTPUT, PatchEncoder, feature_output
from edgead_export.parity import ParityReport, compare, parity_pictures
from edgead_export.parity_picture import draw_parity
from edgead_export.precisions.names import check_precisions
from edgead_export.precisions.offering import QUANTIZED, GatePictures, Offer, Offering, offer_all
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
    precisions: tuple[str, ...] = ("fp32",)
    """What to offer. The fp32 file is always there; bf16 is judged and has no file but for TensorRT."""
    for_tensorrt: bool = False
    """Make files as TensorRT takes them: int8 with signed activations around 0, and bf16 as a file."""
    calibration_images: Path | None = None
    """Good pictures of the part, which int8 is calibrated on and every precision judged on."""
    labelled: LabelledPictures | None = None
    """Pictures whose truth is known: the AUROC is judged as well."""
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
    precisions = check_precisions(options.precisions)
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
        manifest, report = build_bundle(
            folder, spec, weights, resolution, options, precisions, stage=stage, note=say
        )
    return ExportOutcome(options.out, manifest, report, tuple(notes), time.monotonic() - started)


def build_bundle(
    folder: Path,
    spec: BackboneSpec,
    weights: LoadedWeights,
    resolution: Resolution,
    options: ExportOptions,
    precisions: Sequence[Precision] = ("fp32",),
    *,
    stage: Say = lambda _: None,
    note: Say = lambda _: None,
) -> tuple[EncoderManifest, ParityReport]:
    """Trace, check and compare, then fill ``folder``.

    Nothing is written unless the fp32 file agrees; of the other precisions, those are that pass the gate.

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
    model = trace(encoder, size, opset=options.opset, dynamic_batch=options.dynamic_batch)
    draft = _draft_manifest(spec, weights, size, layers, options)
    metadata = _metadata(draft)
    stage("checking")
    reference = finish(model, metadata)
    stage("parity")
    report, maps = compare(encoder, reference, draft, pictures)
    report.require_passed()
    files = BundleFiles(draft, metadata, pictures)
    files.add("fp32", reference)
    if options.fuse:
        stage("fusing")
        report = replace(report, frame=files.add_frame("fp32", model, reference))
        report.require_passed()
    offers: list[Offer] = []
    if others := [precision for precision in precisions if precision != "fp32"]:
        gate_pictures = _gate_pictures(options, pictures, others, note)
        offering = Offering(
            model,
            reference,
            draft,
            lambda made: finish(made, metadata),
            gate_pictures,
            for_tensorrt=options.for_tensorrt,
        )
        offers = offer_all(others, offering, stage=stage, note=note)
        report = replace(report, gates=tuple(gate for offer in offers for gate in offer.reports))
    for offer in offers:
        files.add_offer(offer, fuse=options.fuse, note=note)
    stage("writing")
    manifest = files.write(folder)
    (folder / "parity.json").write_bytes(report.to_json())
    drawn = BytesIO()
    worst = [(offer.reports[0], offer.worst) for offer in offers if offer.worst is not None]
    draw_parity(report, maps, worst).save(drawn, "PNG")
    (folder / "parity.png").write_bytes(drawn.getvalue())
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return manifest, report


def _gate_pictures(
    options: ExportOptions, bundled: Sequence[Picture], precisions: Sequence[Precision], note: Say
) -> GatePictures:
    """The user's good pictures, or those of the parity report."""
    if options.calibration_images is not None:
        pictures = parity_pictures(options.calibration_images)
        return GatePictures.of(pictures, one_part=True, labelled=options.labelled)
    for name in precisions:
        if name in QUANTIZED:
            note(
                f"{name} is calibrated on the parity pictures; good pictures of your own (--calibrate) fit "
                "better."
            )
    return GatePictures.of(bundled, one_part=False, labelled=options.labelled)


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
    for field in ("files", "frames", "created", "tools"):
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
