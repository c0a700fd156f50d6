"""Judging a bundle on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from edgead_runtime.agreement import Gate, GateReport, LabelledPictures
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import BF16, ENGINES
from edgead_runtime.errors import EngineUnavailableError
from edgead_runtime.manifest import Precision
from edgead_runtime.scenes import scenes_of_one_part, scenes_of_unrelated

_REFERENCE_ENGINE = "onnxruntime"
_IN_BF16 = "openvino"


@dataclass(frozen=True)
class Verification:
    """What a precision was seen to do here."""

    reports: tuple[GateReport, ...]
    """The engine asked for, and for int8 in OpenVINO also with the rest in bfloat16."""
    passed: bool
    """Whether every way passed that the bundle lets detectors take; it may have more than that."""


def verify_encoder(
    bundle: EncoderBundle,
    precision: Precision,
    *,
    engine: str = "auto",
    threads: int | None = None,
    good: Path | None = None,
    labelled: LabelledPictures | None = None,
) -> Verification:
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
    anew = _to_judge_anew(bundle)

    def judge(way: str) -> GateReport:
        with Encoder.load(anew, engine=way, threads=threads, precision=precision, fused=False) as candidate:
            return gate.judge(candidate, precision)[0]

    reports = [judge(engine)]
    passed = reports[0].passed
    in_bf16 = _IN_BF16 + BF16
    if precision == "int8" and engine in ("auto", _IN_BF16):
        try:
            reports.append(judge(in_bf16))
        except EngineUnavailableError:
            pass  # neither is it for a detector
        else:
            passed &= reports[-1].passed or not bundle.manifest.file("int8").judged.get(in_bf16, False)
    return Verification(tuple(reports), passed)


def _to_judge_anew(bundle: EncoderBundle) -> EncoderBundle:
    """The bundle as if every engine were allowed: whatever the export found is judged again.

    But for int8 with the rest in bfloat16, which is taken by its name, so that the way without is seen too.
    """
    judged = dict.fromkeys(ENGINES, True)
    files = [msgspec.structs.replace(file, judged=judged) for file in bundle.manifest.files]
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, files=files))
