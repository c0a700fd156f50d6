"""Where an encoder bundle may be written."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from edgead_runtime.encoder_bundle import MANIFEST_NAME, EncoderBundle, onnx_name
from edgead_runtime.errors import BundleError
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.places import FOLDER as ENGINES_FOLDER

from edgead.jobs.own_folder import FolderKind, check_own_folder


def _is_bundle(folder: Path) -> bool:
    try:
        EncoderBundle.open(folder)
    except BundleError:
        return False
    return True


_ONNX_FILES = {
    onnx_name(kind, precision) for kind in ("encoder", "frame") for precision in get_args(Precision)
}
_BUNDLE = FolderKind(
    name="an encoder bundle",
    members=frozenset({MANIFEST_NAME, "parity.json", "parity.png", ENGINES_FOLDER, *_ONNX_FILES}),
    is_one=_is_bundle,
    option="--out",
)


def check_bundle_folder(out: Path, *, overwrite: bool) -> None:
    """Check before the work that a bundle can go to ``out``.

    Raises:
        OutputError: It is a file, holds a bundle and ``overwrite`` is off, or holds something else.
    """
    check_own_folder(out, _BUNDLE, overwrite=overwrite)
