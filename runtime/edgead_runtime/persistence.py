"""Between a detector in memory and its bundle: which record, tensor and picture holds what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgead_runtime._version import __version__
from edgead_runtime.bank import Reference
from edgead_runtime.detector_bundle import LoadedBundle, write_bundle
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import BundleError, EncoderMismatchError, EncoderNotFoundError
from edgead_runtime.images import Picture
from edgead_runtime.manifest import (
    DETECTOR_SCHEMA_VERSION,
    Calibration,
    DetectorManifest,
    EncoderReference,
    ReferenceRecord,
)
from edgead_runtime.pipeline import Pipeline

_LENGTH_TOLERANCE = 1e-3
_PLAIN_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


def save_detector(
    path: Path,
    pipeline: Pipeline,
    references: Sequence[Reference],
    calibration: Calibration,
    *,
    self_contained: bool,
) -> None:
    """Write a detector to one file.

    Raises:
        OutputError: The file cannot be written.
    """
    encoder = pipeline.encoder
    # An encoder that came out of a bundle has no folder to be found in again.
    embed = self_contained or encoder.bundle.root is None
    records = [_record(index, reference) for index, reference in enumerate(references)]
    arrays: dict[str, NDArray[np.generic]] = {}
    pictures: dict[str, bytes] = {}
    for record, reference in zip(records, references, strict=True):
        pictures[record.picture] = reference.picture.encode()
        arrays[record.tokens] = reference.tokens
        if record.mask is not None and reference.mask is not None:
            arrays[record.mask] = reference.mask.astype(np.uint8)
    manifest = DetectorManifest(
        schema_version=DETECTOR_SCHEMA_VERSION,
        kind="edgead-detector",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        runtime_version=__version__,
        encoder=EncoderReference(
            fingerprint=encoder.fingerprint,
            backbone=encoder.manifest.backbone,
            layers=[encoder.feature_output(pipeline.recipe.layer).layer],
            weights=encoder.manifest.weights,
            path_hint=None if encoder.bundle.root is None else str(encoder.bundle.root),
            embedded=embed,
        ),
        recipe=asdict(pipeline.recipe),
        mask=pipeline.mask,
        calibration=calibration,
        references=records,
        members={},
    )
    write_bundle(path, manifest, arrays, pictures, encoder.bundle if embed else None)


def _record(index: int, reference: Reference) -> ReferenceRecord:
    return ReferenceRecord(
        name=reference.picture.name,
        picture=f"references/{index:04d}{_suffix(reference.picture)}",
        tokens=f"tokens/{index:04d}",
        mask=None if reference.mask is None else f"mask/{index:04d}",
        height=reference.frame_hw[0],
        width=reference.frame_hw[1],
        digest=reference.digest,
        added=reference.added,
    )


def _suffix(picture: Picture) -> str:
    """A suffix fit for a member name; a picture's own name may hold anything."""
    return picture.suffix if _PLAIN_SUFFIX.fullmatch(picture.suffix) else ".bin"


def load_references(bundle: LoadedBundle, encoder: Encoder, path: Path) -> tuple[Reference, ...]:
    """The bank of a bundle, checked against its encoder.

    Raises:
        BundleError: An array is missing, has not the encoder's shape, or holds no features.
    """
    rows, columns = encoder.manifest.grid
    patches = rows * columns
    width = encoder.feature_output(bundle.manifest.encoder.layers[0]).dim
    references = []
    for record in bundle.manifest.references:
        try:
            tokens = bundle.arrays[record.tokens]
            mask = None if record.mask is None else bundle.arrays[record.mask]
        except KeyError as error:
            raise BundleError(f"{path} lacks the array {error}", "Enrol the detector again.") from error
        fits = tokens.dtype == np.float32 and tokens.ndim == 2 and tokens.shape[1] == width
        if (
            not fits
            or len(tokens) == 0
            or len(tokens) % patches
            or (mask is not None and mask.shape != (rows, columns))
        ):
            raise BundleError(
                f"{path}: {record.tokens} has shape {tokens.shape}, which does not fit its encoder",
                "Enrol the detector again.",
            )
        _check_normalized(tokens, f"{path}: {record.tokens}")
        references.append(
            Reference(
                # A picture may have been given a name without its file's suffix.
                picture=Picture(
                    record.name,
                    encoded=bundle.pictures[record.picture],
                    suffix=PurePosixPath(record.picture).suffix,
                ),
                tokens=tokens.view(),
                mask=None if mask is None else mask.astype(np.bool_),
                patches=patches,
                frame_hw=(record.height, record.width),
                digest=record.digest,
                added=record.added,
            )
        )
    if not references:
        raise BundleError(f"{path} holds no reference", "Enrol the detector again.")
    return tuple(references)


def _check_normalized(tokens: NDArray[np.generic], where: str) -> None:
    """Refuse rows that are neither of length 1 nor zero: distances to them would be no distances."""
    lengths = np.linalg.norm(tokens.astype(np.float32, copy=False), axis=1)
    if not np.all((np.abs(lengths - 1) < _LENGTH_TOLERANCE) | (lengths == 0)):
        raise BundleError(f"{where} holds values that are no features", "Enrol the detector again.")


def locate_encoder(path: Path, bundle: LoadedBundle) -> EncoderBundle:
    """The embedded encoder, else the folder the detector was enrolled with, else that name beside the file.

    Raises:
        EncoderNotFoundError: It is nowhere.
        BundleError: It is there and damaged.
    """
    if bundle.encoder is not None:
        return bundle.encoder
    expected = bundle.manifest.encoder
    hint = expected.path_hint
    if hint is not None:
        folders = [folder for folder in (Path(hint), path.parent / Path(hint).name) if folder.is_dir()]
        found = [EncoderBundle.open(folder) for folder in folders]
        # The folder may have been exported anew since, while the right one lies beside the detector.
        found.sort(key=lambda encoder: encoder.manifest.fingerprint() != expected.fingerprint)
        if found:
            return found[0]
    raise EncoderNotFoundError(
        f"the encoder of {path} ({expected.backbone}) is not at {hint}",
        "Give its folder (--encoder DIR, encoder=...), or enrol with --self-contained.",
    )


def check_encoder(path: Path, expected: EncoderReference, fingerprint: str, source: str) -> None:
    """Refuse an encoder that the detector was not enrolled with.

    Raises:
        EncoderMismatchError: The fingerprints differ.
    """
    if fingerprint != expected.fingerprint:
        raise EncoderMismatchError(
            f"{path} was enrolled with another encoder ({expected.backbone}, {expected.fingerprint[:12]}) "
            f"than {source} ({fingerprint[:12]})",
            "Give the encoder it was enrolled with, or enrol again with this one.",
        )
