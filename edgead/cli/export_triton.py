"""``edgead export --triton``: the part of the command that writes a model repository."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from edgead_export.triton.repository import ServingOptions
    from edgead_runtime.manifest import Precision

    from edgead.cli.terminal import Terminal


class TritonBackend(str, Enum):
    """Choices of ``--backend``."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    PYTHON = "python"


_OF_A_SOURCE = frozenset(
    {"triton", "detector", "encoder", "backend", "instances", "max_batch", "precision", "overwrite", "quiet"}
    | {"as_json", "context"}
)
"""Options that mean something where nothing is traced."""
_OF_TRITON = ("detector", "encoder", "backend", "instances", "max_batch")


def check_options_fit(context: typer.Context, *, triton: bool, traced: bool) -> None:
    """Refuse options that would be ignored.

    Args:
        context: Of the command.
        triton: Whether a repository is asked for.
        traced: Whether a backbone is exported; otherwise what is there already is served.

    Raises:
        EdgeadError: One is given that has no part in what is asked for.
    """
    from edgead_runtime.errors import EdgeadError

    given = [name for name in context.params if _was_typed(context, name)]
    if not triton:
        for name in given:
            if name in _OF_TRITON:
                raise EdgeadError(f"{_option(name)} is for --triton", "Add --triton DIR, or leave it out.")
    elif not traced:
        for name in given:
            if name not in _OF_A_SOURCE:
                raise EdgeadError(
                    f"{_option(name)} is for exporting a backbone, and --detector and --encoder serve what "
                    "is there already",
                    "Leave it out, or export first.",
                )


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _option(name: str) -> str:
    return "--json" if name == "as_json" else "--" + name.replace("_", "-")


def serving_options(
    backend: TritonBackend,
    precisions: tuple[Precision, ...],
    instances: int,
    max_batch: int,
    *,
    overwrite: bool,
) -> ServingOptions:
    """How the models are to be served.

    Raises:
        EdgeadError: Several precisions are named.
    """
    from edgead_export.triton.repository import ServingOptions
    from edgead_runtime.errors import EdgeadError

    others = [precision for precision in precisions if precision != "fp32"]
    if len(others) > 1:
        raise EdgeadError(
            f"a model is served in one precision, not in {' and '.join(others)}", "Name one with --precision."
        )
    return ServingOptions(
        backend=backend.value,
        precision=others[0] if others else "fp32",
        instances=instances,
        max_batch=max_batch,
        overwrite=overwrite,
    )


def check_repository(
    repository: Path, options: ServingOptions, *, detector: Path | None = None, encoder: Path | None = None
) -> None:
    """See :func:`edgead.jobs.triton.check_triton`."""
    from edgead.jobs.triton import check_triton

    check_triton(repository, options, detector=detector, encoder=encoder)


def write_repository(
    terminal: Terminal,
    repository: Path,
    options: ServingOptions,
    *,
    detector: Path | None = None,
    encoder: Path | None = None,
) -> list[dict[str, Any]]:
    """Write the models, tell of them, and return what the JSON summary says."""
    from edgead_export.triton.repository import remarks
    from msgspec import to_builtins

    from edgead.jobs.triton import write_triton

    written = write_triton(repository, options, detector=detector, encoder=encoder, stage=terminal.step)
    for remark in remarks(options):
        terminal.warn(remark)
    for model in written:
        for line in model.lines():
            terminal.say(line)
    terminal.say(f"Serve it with: tritonserver --model-repository={shlex.quote(str(repository.resolve()))}")
    return [
        {
            "path": str(model.path),
            "name": model.model.name,
            "backend": model.model.backend,
            "facts": dict(model.model.facts),
            "parity": None if model.parity is None else to_builtins(model.parity),
            "plan_parity": None if model.plan_parity is None else to_builtins(model.plan_parity),
        }
        for model in written
    ]
