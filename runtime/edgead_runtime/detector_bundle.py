"""Detector bundles: one stored zip with a manifest, the bank as safetensors and the good pictures.

No pickle. Every member's size and SHA-256 is in the manifest; members are read by the manifest's list and
never extracted by name. Written to a temporary file, fsynced and renamed.
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from edgead_runtime.encoder_bundle import MANIFEST_NAME, EncoderBundle, check_member_names, onnx_files
from edgead_runtime.errors import BundleError, OutputError
from edgead_runtime.files import atomic_file, sha256_bytes
from edgead_runtime.manifest import (
    DetectorManifest,
    EncoderManifest,
    Member,
    decode_manifest,
    encode_manifest,
)

ARRAYS_NAME = "arrays.safetensors"
ENCODER_FOLDER = "encoder/"

# Same pictures and options, same bytes: members carry no date of their own.
_NO_DATE = (1980, 1, 1, 0, 0, 0)
_MAX_MANIFEST_BYTES = 64 << 20
_REMEDY = "Copy the file again, or enrol the detector again."

# What zipfile raises on damaged headers; RuntimeError is "encrypted" and "zip version not supported".
_DAMAGE = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error)

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class LoadedBundle:
    """A detector bundle whose every member matched its hash."""

    manifest: DetectorManifest
    arrays: Arrays
    pictures: Mapping[str, bytes]
    """Enrolment pictures by member name."""
    encoder: EncoderBundle | None
    """The embedded encoder, where there is one."""
    tier_encoders: Mapping[str, EncoderBundle] = field(default_factory=dict)
    """Those of its tuning that are embedded, by fingerprint."""


def write_bundle(
    path: Path,
    manifest: DetectorManifest,
    arrays: Arrays,
    pictures: Mapping[str, bytes],
    encoder: EncoderBundle | None = None,
    tier_encoders: Mapping[str, EncoderBundle] | None = None,
) -> None:
    """Write a detector bundle; ``path`` is replaced only once the new file is whole.

    Args:
        path: The final name.
        manifest: Its ``members`` are filled in here.
        arrays: Tensors by name.
        pictures: Enrolment pictures by member name.
        encoder: Embedded where given.
        tier_encoders: Those of a tuning that are to be embedded, by fingerprint.

    Raises:
        OutputError: The file cannot be written.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}", "Make it first.")
    payload = {
        ARRAYS_NAME: save_tensors({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    }
    payload.update(pictures)
    if encoder is not None:
        payload.update(_encoder_members(ENCODER_FOLDER, encoder))
    for fingerprint, of_tier in (tier_encoders or {}).items():
        payload.update(_encoder_members(tier_encoder_folder(fingerprint), of_tier))
    members = {name: Member(sha256=sha256_bytes(data), bytes=len(data)) for name, data in payload.items()}
    complete = msgspec.structs.replace(manifest, members=members)
    with atomic_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        # The manifest first, so that `head` and a hex viewer show what the file is.
        archive.writestr(zipfile.ZipInfo(MANIFEST_NAME, _NO_DATE), encode_manifest(complete))
        for name, data in payload.items():
            archive.writestr(zipfile.ZipInfo(name, _NO_DATE), data)


def tier_encoder_folder(fingerprint: str) -> str:
    """Where in a bundle a tuning's encoder is embedded."""
    return f"encoders/{fingerprint}/"


def _encoder_members(folder: str, encoder: EncoderBundle) -> dict[str, bytes]:
    members = {folder + MANIFEST_NAME: encode_manifest(encoder.manifest)}
    for entry in onnx_files(encoder.manifest):
        members[folder + entry.path] = encoder.read(entry)
    return members


def read_bundle(path: Path) -> LoadedBundle:
    """Read a detector bundle and check every member.

    Raises:
        BundleError: The file is missing, truncated, altered, not a detector, or names a path outside itself.
        SchemaVersionError: A newer edgead wrote it.
    """
    with _open_zip(path) as archive:
        check_member_names(archive.namelist(), str(path))
        if len(set(archive.namelist())) != len(archive.namelist()):
            raise BundleError(f"{path} holds two files of one name", "Do not use it; get it from its maker.")
        manifest = decode_manifest(
            _read_member(archive, MANIFEST_NAME, path, limit=_MAX_MANIFEST_BYTES),
            DetectorManifest,
            f"{path}: manifest.json",
        )
        payload = {name: _checked(archive, name, member, path) for name, member in manifest.members.items()}
    try:
        arrays = load_tensors(payload[ARRAYS_NAME])
        pictures = {record.picture: payload[record.picture] for record in manifest.references}
    except (KeyError, SafetensorError) as error:
        raise BundleError(f"{path} is damaged ({error})", _REMEDY) from error
    banks = [] if manifest.tuning is None else manifest.tuning.banks
    return LoadedBundle(
        manifest=manifest,
        arrays=arrays,
        pictures=pictures,
        encoder=_embedded_encoder(payload, path, ENCODER_FOLDER) if manifest.encoder.embedded else None,
        tier_encoders={
            bank.encoder.fingerprint: _embedded_encoder(
                payload, path, tier_encoder_folder(bank.encoder.fingerprint)
            )
            for bank in banks
            if bank.encoder.embedded
        },
    )


def _embedded_encoder(payload: Mapping[str, bytes], path: Path, folder: str) -> EncoderBundle:
    source = f"{path} (embedded encoder)"

    def read(name: str) -> bytes:
        try:
            return payload[folder + name]
        except KeyError:
            raise BundleError(f"{source} lacks {name}", _REMEDY) from None

    return EncoderBundle(
        manifest=decode_manifest(read(MANIFEST_NAME), EncoderManifest, source),
        source=source,
        read_file=read,
        path=path,
    )


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise BundleError(f"detector {path} {what}", "Give the .edgead file that `edgead enroll` wrote.")
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise BundleError(f"{path} is not a detector bundle, or was cut off ({error})", _REMEDY) from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}", "Check the file.") from error
    with archive:
        yield archive


def _read_member(archive: zipfile.ZipFile, name: str, path: Path, limit: int) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BundleError(f"{path} has no {name}, so it is not a whole detector bundle", _REMEDY) from None
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
        # Bundles are stored, so a compressed member is not ours and may be a bomb.
        raise BundleError(f"{path}: {name} is not stored as edgead stores it", _REMEDY)
    try:
        return archive.read(info)
    except (*_DAMAGE, OSError) as error:
        raise BundleError(f"{path}: {name} is damaged ({error})", _REMEDY) from error


def _checked(archive: zipfile.ZipFile, name: str, member: Member, path: Path) -> bytes:
    data = _read_member(archive, name, path, limit=member.bytes)
    if len(data) != member.bytes or sha256_bytes(data) != member.sha256:
        raise BundleError(f"{path}: {name} does not match its hash; the file was altered or damaged", _REMEDY)
    return data
