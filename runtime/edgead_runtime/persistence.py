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
from edgead_runtime.alignment import Alignment
from edgead_runtime.bank import Layers, Reference
from edgead_runtime.coreset import is_condensed
from edgead_runtime.detector_bundle import LoadedBundle, write_bundle
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import BundleError, EncoderMismatchError, EncoderNotFoundError
from edgead_runtime.images import Picture
from edgead_runtime.manifest import (
    DETECTOR_SCHEMA_VERSION,
    AlignmentRecord,
    Calibration,
    CoresetRecord,
    DetectorManifest,
    EncoderReference,
    FeatureOutput,
    MaskDecision,
    MomentsRecord,
    ReferenceRecord,
)
from edgead_runtime.memory import Memory
from edgead_runtime.pipeline import Pipeline
from edgead_runtime.recipe import Recipe
from edgead_runtime.subspace import Moments
from edgead_runtime.token_storage import DTYPES, pack, unpack
from edgead_runtime.tuning import StoredTuning
from edgead_runtime.views import views_of

_ENROL_AGAIN = "Enrol the detector again."
_LENGTH_TOLERANCE = 1e-3
_RIGID_TOLERANCE = 1e-6
_PLAIN_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


def save_detector(
    path: Path,
    pipeline: Pipeline,
    memory: Memory,
    calibration: Calibration,
    *,
    self_contained: bool,
    tuning: StoredTuning | None = None,
) -> None:
    """Write a detector to one file.

    Raises:
        OutputError: The file cannot be written.
    """
    encoder = pipeline.encoder
    # An encoder that came out of a bundle has no folder to be found in again.
    embed = self_contained or encoder.bundle.root is None
    references = memory.references
    records, arrays = record_references(references, pipeline.recipe)
    pictures = {
        record.picture: reference.picture.encode()
        for record, reference in zip(records, references, strict=True)
    }
    if tuning is not None:
        tuning = tuning.for_saving(records, self_contained=self_contained)
        arrays.update(tuning.arrays)
    manifest = DetectorManifest(
        schema_version=DETECTOR_SCHEMA_VERSION,
        kind="edgead-detector",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        runtime_version=__version__,
        encoder=refer_to(encoder, pipeline.recipe, embedded=embed),
        recipe=asdict(pipeline.recipe),
        mask=pipeline.mask,
        calibration=calibration,
        references=records,
        coreset=list(memory.coreset),
        members={},
        tuning=None if tuning is None else tuning.record,
    )
    tier_encoders = None if tuning is None else tuning.embedded
    write_bundle(path, manifest, arrays, pictures, encoder.bundle if embed else None, tier_encoders)


def refer_to(encoder: Encoder, recipe: Recipe, *, embedded: bool) -> EncoderReference:
    """What a detector's file says of an encoder."""
    return EncoderReference(
        fingerprint=encoder.fingerprint,
        backbone=encoder.manifest.backbone,
        layers=[output.layer for output in encoder.feature_outputs(recipe.layers)],
        weights=encoder.manifest.weights,
        path_hint=None if encoder.bundle.root is None else str(encoder.bundle.root),
        embedded=embedded,
    )


def record_references(
    references: Sequence[Reference], recipe: Recipe, prefix: str = ""
) -> tuple[list[ReferenceRecord], dict[str, NDArray[np.generic]]]:
    """The records of good pictures, and the arrays that they name.

    Args:
        references: The good pictures.
        recipe: Says in which type their patches are kept.
        prefix: Of the arrays' names.
    """
    records = [_record(index, reference, prefix) for index, reference in enumerate(references)]
    arrays: dict[str, NDArray[np.generic]] = {}
    for record, reference in zip(records, references, strict=True):
        packed = (pack(tokens, recipe.keep_as) for tokens in reference.tokens)
        arrays.update(zip(record.tokens, packed, strict=True))
        arrays.update(zip(record.kept, reference.kept, strict=True))
        for names, moments in zip(record.moments, reference.moments, strict=True):
            arrays[names.total], arrays[names.products] = moments.total, moments.products
        if record.mask is not None and reference.mask is not None:
            arrays[record.mask] = reference.mask.astype(np.uint8)
    return records, arrays


def _record(index: int, reference: Reference, prefix: str) -> ReferenceRecord:
    return ReferenceRecord(
        name=reference.picture.name,
        picture=f"references/{index:04d}{_suffix(reference.picture)}",
        tokens=[f"{prefix}tokens/{index:04d}/{layer}" for layer in range(len(reference.tokens))],
        kept=[f"{prefix}kept/{index:04d}/{layer}" for layer in range(len(reference.kept))],
        moments=[
            MomentsRecord(
                count=moments.count,
                total=f"{prefix}moments/{index:04d}/{layer}/total",
                products=f"{prefix}moments/{index:04d}/{layer}/products",
            )
            for layer, moments in enumerate(reference.moments)
        ],
        alignment=None if reference.alignment is None else _alignment_record(reference.alignment),
        mask=None if reference.mask is None else f"{prefix}mask/{index:04d}",
        height=reference.frame_hw[0],
        width=reference.frame_hw[1],
        digest=reference.digest,
        added=reference.added,
    )


def _alignment_record(alignment: Alignment) -> AlignmentRecord:
    fields = {field: getattr(alignment, field) for field in AlignmentRecord.__struct_fields__}
    return AlignmentRecord(**{**fields, "matrix": alignment.matrix.tolist()})


def _suffix(picture: Picture) -> str:
    """A suffix fit for a member name; a picture's own name may hold anything."""
    return picture.suffix if _PLAIN_SUFFIX.fullmatch(picture.suffix) else ".bin"


def load_references(
    bundle: LoadedBundle, encoder: Encoder, recipe: Recipe, path: Path
) -> tuple[Reference, ...]:
    """The good pictures of a bundle, checked against its encoder and recipe.

    Raises:
        BundleError: An array is missing, has not the encoder's shape, or holds no features.
    """
    rows, columns = encoder.manifest.grid
    views = len(views_of(recipe, None, (1, 1)))
    outputs = encoder.feature_outputs(recipe.layers)
    if [output.layer for output in outputs] != bundle.manifest.encoder.layers:
        raise BundleError(f"{path}: its recipe and its memory are of different layers", _ENROL_AGAIN)
    arrays = _Arrays(bundle, path)
    references = []
    for record in bundle.manifest.references:
        mask = None if record.mask is None else arrays.shaped(record.mask, (rows, columns))
        kept = _kept(arrays, record, recipe, outputs, views * rows * columns)
        references.append(
            Reference(
                # A picture may have been given a name without its file's suffix.
                picture=Picture(
                    record.name,
                    encoded=bundle.pictures[record.picture],
                    suffix=PurePosixPath(record.picture).suffix,
                ),
                tokens=_tokens(arrays, record, recipe, outputs, kept, views * rows * columns),
                kept=kept,
                moments=_moments(arrays, record, recipe, outputs, views * rows * columns),
                mask=None if mask is None else mask.astype(np.bool_),
                patches=rows * columns,
                frame_hw=(record.height, record.width),
                digest=record.digest,
                alignment=None if record.alignment is None else _alignment(record.alignment, path),
                added=record.added,
            )
        )
    if not references:
        raise BundleError(f"{path} holds no reference", _ENROL_AGAIN)
    _check_mask(bundle.manifest.mask, recipe, (rows, columns), path)
    return tuple(references)


def _check_mask(mask: MaskDecision, recipe: Recipe, grid: tuple[int, int], path: Path) -> None:
    """Refuse a mask that cannot be made, or that would leave nothing to inspect."""
    if not mask.enabled:
        return
    if recipe.mask_from == "area":
        rows = mask.area or []
        if [len(row) for row in rows] != [grid[1]] * grid[0] or not any("#" in row for row in rows):
            raise BundleError(f"{path}: its area is none of its encoder's", _ENROL_AGAIN)
    elif mask.area is not None or (recipe.mask_from == "attention" and mask.threshold is None):
        raise BundleError(f"{path}: its mask is not its recipe's", _ENROL_AGAIN)


class _Arrays:
    """A bundle's arrays, each refused where it is not what it should be."""

    def __init__(self, bundle: LoadedBundle, path: Path) -> None:
        self._arrays = bundle.arrays
        self.path = path

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        try:
            return self._arrays[name]
        except KeyError as error:
            raise BundleError(f"{self.path} lacks the array {error}", _ENROL_AGAIN) from error

    def shaped(
        self, name: str, shape: tuple[int, ...], dtype: type[np.generic] | None = None
    ) -> NDArray[np.generic]:
        array = self[name]
        if array.shape != shape or (dtype is not None and array.dtype != dtype):
            raise self.misfit(name)
        return array

    def misfit(self, name: str) -> BundleError:
        return BundleError(
            f"{self.path}: {name} has shape {self[name].shape}, which does not fit its encoder", _ENROL_AGAIN
        )


def _tokens(
    arrays: _Arrays,
    record: ReferenceRecord,
    recipe: Recipe,
    outputs: Sequence[FeatureOutput],
    kept: Sequence[NDArray[np.int32]],
    count: int,
) -> Layers:
    if len(record.tokens) != (len(outputs) if recipe.head == "bank" else 0):
        raise BundleError(f"{arrays.path}: {record.name} has not one array a layer", _ENROL_AGAIN)
    tokens = []
    counts = [len(rows) for rows in kept] or [count] * len(outputs)
    # A version 2 of the file has float32 and nothing else; the recipe's default says so.
    dtype = DTYPES[recipe.keep_as]
    for name, output, rows in zip(record.tokens, outputs, counts, strict=False):
        found = unpack(arrays.shaped(name, (rows, output.dim), dtype))
        _check_normalized(found, f"{arrays.path}: {name}")
        tokens.append(found)
    return tuple(tokens)


def _kept(
    arrays: _Arrays,
    record: ReferenceRecord,
    recipe: Recipe,
    outputs: Sequence[FeatureOutput],
    count: int,
) -> tuple[NDArray[np.int32], ...]:
    """Which patches are kept, for each layer; empty where all are."""
    if len(record.kept) != (len(outputs) if is_condensed(recipe) else 0):
        raise BundleError(f"{arrays.path}: {record.name} has not the patches of its recipe", _ENROL_AGAIN)
    found = []
    for name in record.kept:
        numbers = arrays[name]
        if numbers.dtype != np.int32 or numbers.ndim != 1:
            raise arrays.misfit(name)
        whole = numbers.astype(np.int32, copy=False)
        if len(whole) and not (whole[0] >= 0 and whole[-1] < count and (np.diff(whole) > 0).all()):
            raise BundleError(f"{arrays.path}: {name} names patches that are not there", _ENROL_AGAIN)
        found.append(whole)
    return tuple(found)


def load_coreset(
    bundle: LoadedBundle, references: Sequence[Reference], path: Path
) -> tuple[CoresetRecord, ...]:
    """What the bundle says of its coreset, checked against its references.

    Raises:
        BundleError: They contradict each other.
    """
    records = tuple(bundle.manifest.coreset)
    kept = [reference.kept for reference in references]
    if len(records) != len(kept[0]) or any(sum(map(len, layer)) == 0 for layer in zip(*kept, strict=True)):
        raise BundleError(f"{path}: its coreset is not that of its references", _ENROL_AGAIN)
    return records


def _moments(
    arrays: _Arrays,
    record: ReferenceRecord,
    recipe: Recipe,
    outputs: Sequence[FeatureOutput],
    count: int,
) -> tuple[Moments, ...]:
    if len(record.moments) != (len(outputs) if recipe.head == "subspace" else 0):
        raise BundleError(f"{arrays.path}: {record.name} has not one array a layer", _ENROL_AGAIN)
    found = []
    for names, output in zip(record.moments, outputs, strict=False):
        total = arrays.shaped(names.total, (output.dim,), np.float32).astype(np.float32, copy=False)
        products = arrays.shaped(names.products, (output.dim * (output.dim + 1) // 2,), np.float32)
        if names.count != count or not (
            np.isfinite(total).all() and np.isfinite(products.astype(np.float32)).all()
        ):
            raise BundleError(f"{arrays.path}: {names.total} holds values that are no features", _ENROL_AGAIN)
        found.append(Moments(names.count, total, products.astype(np.float32, copy=False)))
    return tuple(found)


def _alignment(record: AlignmentRecord, path: Path) -> Alignment:
    try:
        matrix = np.array(record.matrix, dtype=np.float64)
    except ValueError:  # rows of different lengths
        matrix = np.empty(0)
    rigid = matrix.shape == (2, 3) and np.isfinite(matrix).all()
    if not rigid or np.abs(matrix[:, :2] @ matrix[:, :2].T - np.eye(2)).max() > _RIGID_TOLERANCE:
        raise BundleError(f"{path} holds an alignment that is none", _ENROL_AGAIN)
    fields = {field: getattr(record, field) for field in AlignmentRecord.__struct_fields__}
    return Alignment(**{**fields, "matrix": matrix})


def _check_normalized(tokens: NDArray[np.generic], where: str) -> None:
    """Refuse rows that are neither of length 1 nor zero: distances to them would be no distances."""
    with np.errstate(over="ignore"):  # infinite is refused as well, and without a warning beside it
        lengths = np.linalg.norm(tokens.astype(np.float32, copy=False), axis=1)
    if not np.all((np.abs(lengths - 1) < _LENGTH_TOLERANCE) | (lengths == 0)):
        raise BundleError(f"{where} holds values that are no features", _ENROL_AGAIN)


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
