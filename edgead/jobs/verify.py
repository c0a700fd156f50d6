"""Judging a bundle on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
from edgead_runtime.agreement import Gate, GateReport, LabelledPictures
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.manifest import Precision
from edgead_runtime.scenes import scenes_of_one_part, scenes_of_unrelated

_REFERENCE_ENGINE = "onnxruntime"


def verify_encoder(
    bundle: EncoderBundle,
    precision: Precision,
    *,
    engine: str = "auto",
    threads: int | None = None,
    good: Path | None = None,
    labelled: LabelledPictures | None = None,
) -> GateReport:
    """Compare a precision in an engine with fp32 in ONNX Runtime.

    Args:
        bundle: The encoder.
        precision: Which of its files, or bf16.
        engine: A name or ``auto``.
        threads: Of the engine.
        good: Folder of good pictures of one part; by default the bundled pictures, each with another view of
            itself.
        labelled: Where there are any.

    Raises:
        EngineUnavailableError: It does not run here.
        BundleError: The bundle has no such file.
        EdgeadError: The folder has too few pictures.
    """
    from edgead_export.parity import parity_pictures

    pictures = parity_pictures(good)
    scenes = scenes_of_unrelated(pictures) if good is None else scenes_of_one_part(pictures)
    with Encoder.load(bundle, engine=_REFERENCE_ENGINE, threads=threads, fused=False) as reference:
        gate = Gate(reference, scenes, labelled)
    with Encoder.load(
        _unjudged(bundle), engine=engine, threads=threads, precision=precision, fused=False
    ) as candidate:
        return gate.judge(candidate, precision)[0]


def _unjudged(bundle: EncoderBundle) -> EncoderBundle:
    """The bundle without what failed when it was exported: it is judged again."""
    files = [
        msgspec.structs.replace(file, judged={way: True for way, passed in file.judged.items() if passed})
        for file in bundle.manifest.files
    ]
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, files=files))
