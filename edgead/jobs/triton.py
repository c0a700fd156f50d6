"""Model repositories for Triton: what is served, and which folders may be replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgead_export.triton.config import CONFIG_NAME, MARK
from edgead_export.triton.repository import (
    VERSION,
    ServingOptions,
    WrittenModel,
    check_options,
    detector_name,
    encoder_names,
    serve_detector,
    serve_encoder,
)
from edgead_runtime.errors import EdgeadError, OutputError

from edgead.jobs.own_folder import FolderKind, check_own_folder

_OPTION = "--triton"


def _is_model(folder: Path) -> bool:
    try:
        return (folder / CONFIG_NAME).read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False


_MODEL = FolderKind(
    name="a Triton model", members=frozenset({CONFIG_NAME, VERSION}), is_one=_is_model, option=_OPTION
)


def check_triton(
    repository: Path, options: ServingOptions, *, detector: Path | None, encoder: Path | None
) -> None:
    """Check before the work that the models can be written.

    Args:
        repository: The folder that Triton is started with.
        options: How they are to be served.
        detector: A ``.edgead`` file.
        encoder: A bundle's folder, which need not be there yet.

    Raises:
        OutputError: The repository is a file, or a model's folder holds what edgead did not write.
        EdgeadError: The options are wrong, or both sources are given.
    """
    if detector is not None and encoder is not None:
        raise EdgeadError("--detector and --encoder are one or the other", "Leave one out.")
    if detector is None and options.backend == "python":
        raise EdgeadError("the Python backend runs a detector", "Add --detector part.edgead.")
    check_options(options)
    if repository.exists() and not repository.is_dir():
        raise OutputError(f"{repository} is a file", f"Give a folder after {_OPTION}.")
    names: Sequence[str] = () if encoder is None else encoder_names(encoder)
    for name in names if detector is None else [detector_name(detector)]:
        check_own_folder(repository / name, _MODEL, overwrite=options.overwrite)


def write_triton(
    repository: Path,
    options: ServingOptions,
    *,
    detector: Path | None,
    encoder: Path | None,
    stage: Callable[[str], None],
) -> list[WrittenModel]:
    """Write the models; the arguments are those of :func:`check_triton`.

    Raises:
        EdgeadError: See :func:`~edgead_export.triton.repository.serve_detector`.
    """
    if detector is not None:
        return [serve_detector(detector, repository, options, stage=stage)]
    if encoder is None:
        raise ValueError("there is nothing to serve")
    return serve_encoder(encoder, repository, options, stage=stage)
