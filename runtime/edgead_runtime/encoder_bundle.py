"""Encoder bundles: a folder with ``manifest.json`` and the ONNX files it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from edgead_runtime.errors import BundleError
from edgead_runtime.files import sha256_bytes
from edgead_runtime.manifest import EncoderFile, EncoderManifest, FrameFile, Precision, decode_manifest

MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class EncoderBundle:
    """An encoder's manifest and a way to read the files beside it."""

    manifest: EncoderManifest
    source: str
    """Folder, or detector file the encoder is embedded in; for messages."""
    read_file: Callable[[str], bytes]
    root: Path | None = None
    """The folder, or ``None`` where the encoder is embedded."""
    path: Path | None = None
    """What to name on a command line for this encoder: the folder as it was given, or the detector file."""

    @classmethod
    def open(cls, path: str | Path) -> EncoderBundle:
        """Open a bundle folder.

        Raises:
            BundleError: It is missing, not an encoder bundle, or names a file outside itself.
            SchemaVersionError: A newer edgead wrote it.
        """
        root = Path(path)
        manifest_path = root / MANIFEST_NAME
        if not manifest_path.is_file():
            what = (
                "has no manifest.json"
                if root.is_dir()
                else "does not exist"
                if not root.exists()
                else "is not a folder"
            )
            raise BundleError(
                f"encoder bundle {root} {what}",
                "Give the folder that `edgead export` wrote, or run it first.",
            )
        manifest = decode_manifest(_read(manifest_path), EncoderManifest, str(manifest_path))
        check_member_names([entry.path for entry in onnx_files(manifest)], str(root))
        return cls(
            manifest=manifest,
            source=str(root),
            read_file=lambda name: _read(root / name),
            root=root.resolve(),
            path=root,
        )

    def read_model(self, precision: Precision = "fp32") -> bytes:
        """The ONNX file's bytes, checked against the manifest.

        Raises:
            BundleError: It is missing, truncated or altered, or the bundle has no such precision.
        """
        return self.read(self.manifest.file(precision))

    def read_frame_graph(self, precision: Precision = "fp32") -> bytes:
        """The frame-to-heatmap graph's bytes, checked against the manifest.

        Raises:
            BundleError: It is missing, truncated or altered, or the bundle has none in this precision.
        """
        entry = self.manifest.frame_of(precision)
        if entry is None:
            raise BundleError(
                f"the encoder bundle {self.source} has no frame graph in {precision}",
                "Export it again with --fuse"
                + ("." if precision == "fp32" else f" --precision {precision}."),
            )
        return self.read(entry)

    def read(self, entry: EncoderFile | FrameFile) -> bytes:
        """A file's bytes, checked against what the manifest says of it.

        Raises:
            BundleError: It is missing, truncated or altered.
        """
        data = self.read_file(entry.path)
        if len(data) != entry.bytes or sha256_bytes(data) != entry.sha256:
            raise BundleError(
                f"{entry.path} in {self.source} is damaged: it does not match the manifest's hash",
                "Export the encoder again.",
            )
        return data


def onnx_name(kind: Literal["encoder", "frame"], precision: Precision) -> str:
    """What an ONNX file of a bundle is called."""
    return f"{kind}.onnx" if precision == "fp32" else f"{kind}.{precision}.onnx"


def onnx_files(manifest: EncoderManifest) -> list[EncoderFile | FrameFile]:
    """Every ONNX file that a bundle names."""
    return [*manifest.files, *manifest.frames]


def check_member_names(names: list[str], where: str) -> None:
    """Refuse names that leave their bundle.

    Raises:
        BundleError: A name is absolute, has a backslash or drive, goes up, or is none.
    """
    for name in names:
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or set("\\:\0") & set(name):
            raise BundleError(
                f"{where} names a file outside itself: '{name}'",
                "Do not use this bundle; get it from its maker.",
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"cannot read {path}: {error.strerror or error}", "Export the encoder again."
        ) from error
