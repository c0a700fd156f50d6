"""Where results come from: the detector's facts as a report shows them."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import edgead_runtime
from edgead_runtime import Detector
from edgead_runtime.calibration import explain
from edgead_runtime.tiered import TieredDetector

from edgead._version import __version__
from edgead.wording import blocks, count_of, mask_sentence, sentence


@dataclass(frozen=True)
class DetectorFacts:
    """What a report says of its detector."""

    name: str
    threshold: float
    pixel_threshold: float
    backbone: str
    official_weights: bool
    weights_note: str
    rows: tuple[tuple[str, str], ...]
    """Term and value, in the order shown."""


def _budget(detector: Detector) -> tuple[tuple[str, str], ...]:
    """What a latency budget may change, where there is one."""
    if not isinstance(detector, TieredDetector):
        return ()
    settings = "; or ".join(detector.settings)
    faster = "" if len(detector.settings) > 1 else " (there is no faster setting)"
    return (("Budget", f"{detector.budget_ms:g} ms a picture: {settings}{faster}"),)


def detector_facts(detector: Detector, name: str, sha256: str) -> DetectorFacts:
    """Collect the facts of a detector.

    Args:
        detector: The detector that was run.
        name: Its file's name.
        sha256: Its file's hash.
    """
    manifest = detector.encoder.manifest
    weights = manifest.weights
    provenance = detector.provenance
    turns = len(detector.recipe.rotations_deg)
    rotations = "as they are" if turns == 1 else f"in {turns} rotations"
    return DetectorFacts(
        name=name,
        threshold=detector.threshold,
        pixel_threshold=detector.calibration.pixel_threshold,
        backbone=manifest.backbone,
        official_weights=weights.official,
        weights_note=sentence(weights.note),
        rows=(
            ("Detector", f"{name} (SHA-256 {sha256[:16]}…)"),
            ("Good pictures", f"{count_of(len(detector.references), 'reference')}, {rotations}"),
            ("Calibration", explain(detector.calibration)),
            ("Mask", mask_sentence(detector.mask, detector.recipe.background_weight)),
            ("Recipe", f"{detector.recipe.name}: {detector.recipe.summary} Source: {detector.recipe.source}"),
            (
                "Backbone",
                f"{manifest.backbone}, {blocks(detector.layers)}, "
                f"{manifest.input.width} x {manifest.input.height} px",
            ),
            (
                "Weights",
                f"{weights.source} ({'official' if weights.official else 'NOT official'}; {weights.licence})",
            ),
            ("Encoder", f"fingerprint {provenance.encoder[:16]}…"),
            ("Engine", provenance.engine),
            *_budget(detector),
            (
                "Versions",
                f"edgead {__version__}, edgead-runtime {edgead_runtime.__version__}, "
                f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
            ),
        ),
    )
