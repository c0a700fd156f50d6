"""What makes two detectors the same: everything that decides a result, as one short text."""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import msgspec

from edgead_runtime.detector import Detector


def detector_fingerprint(detector: Detector) -> str:
    """Hash of encoder, recipe, mask, thresholds and good pictures with what is kept of them; 16 hex digits.

    Two detectors of one fingerprint give the same results. Names, dates and a tuning are not in it: they
    decide no result of the full setting.

    Args:
        detector: As it is now.
    """
    digest = hashlib.blake2b(digest_size=8)
    facts = (
        detector.encoder.fingerprint,
        asdict(detector.recipe),
        detector.mask,
        detector.calibration,
        [(reference.digest, reference.added) for reference in detector.references],
    )
    digest.update(msgspec.json.encode(facts, order="deterministic"))
    for reference in detector.references:
        for rows in reference.kept:
            digest.update(rows.tobytes())
    return digest.hexdigest()
