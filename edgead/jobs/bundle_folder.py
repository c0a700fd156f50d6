"""Where an encoder bundle may be written."""

from __future__ import annotations

from pathlib import Path

from edgead_runtime.encoder_bundle import MANIFEST_NAME
from edgead_runtime.errors import OutputError


def check_bundle_folder(out: Path, *, overwrite: bool) -> None:
    """Check before the work that a bundle can go to ``out``.

    Raises:
        OutputError: It is a file, holds a bundle and ``overwrite`` is off, or holds something else.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, and an encoder bundle is a folder", "Give another --out.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MANIFEST_NAME).is_file():
        raise OutputError(
            f"{out} holds files that are no encoder bundle, and they are not replaced", "Give another --out."
        )
    if not overwrite:
        raise OutputError(f"{out} already holds an encoder bundle", "Add --overwrite, or give another --out.")
