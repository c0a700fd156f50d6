"""What a client of a served model has to know, as the parameters of its ``config.pbtxt``."""

from __future__ import annotations

from edgead_runtime import Detector
from edgead_runtime import __version__ as runtime_version
from edgead_runtime.files import sha256_bytes
from edgead_runtime.manifest import EncoderManifest


def facts_of_encoder(manifest: EncoderManifest, data: bytes) -> dict[str, str]:
    """Of the encoder, and the hash of the file that is served."""
    rule = manifest.preprocess
    return {
        "edgead.version": runtime_version,
        "edgead.backbone": manifest.backbone,
        "edgead.weights": manifest.weights.source,
        "edgead.official_weights": str(manifest.weights.official).lower(),
        "edgead.input_hw": _size((manifest.input.height, manifest.input.width)),
        "edgead.resize": rule.interpolation,
        "edgead.mean": " ".join(map(str, rule.mean)),
        "edgead.std": " ".join(map(str, rule.std)),
        "edgead.onnx_sha256": sha256_bytes(data),
    }


def facts_of_detector(detector: Detector, frame_hw: tuple[int, int]) -> dict[str, str]:
    """Of the detector, and how its client resizes frames of this size (height, width)."""
    plan = detector.encoder.preprocessor.plan(frame_hw)
    return {
        "edgead.recipe": detector.recipe.name,
        "edgead.good_pictures": str(len(detector.references)),
        "edgead.threshold": repr(float(detector.threshold)),
        "edgead.pixel_threshold": repr(float(detector.calibration.pixel_threshold)),
        "edgead.frame_hw": _size(frame_hw),
        "edgead.resized_hw": _size(plan.resized),
        "edgead.crop_hw": _size(plan.crop),
    }


def _size(hw: tuple[int, int]) -> str:
    return f"{hw[0]} {hw[1]}"
