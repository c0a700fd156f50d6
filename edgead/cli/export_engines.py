"""``edgead export --engine``: the part of the command that builds TensorRT engines."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgead_runtime.manifest import EncoderManifest, Precision
    from edgead_runtime.tensorrt.api import FlavourName
    from edgead_runtime.tensorrt.options import BuildOptions

    from edgead.cli.terminal import Terminal


class BuildFor(str, Enum):
    """Choices of ``--engine``."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


def check_engine(
    engine: BuildFor | None, sm: list[int], precisions: tuple[Precision, ...], *, no_build: bool
) -> tuple[FlavourName, BuildOptions] | None:
    """What to build, ``None`` for nothing; refused at once where it cannot be.

    Args:
        engine: Which files are wanted, and what to build.
        sm: Compute capabilities of other GPUs to build for.
        precisions: What engines are built in.
        no_build: The files alone are wanted.

    Raises:
        EdgeadError: The options contradict each other, or the engine cannot be built here.
    """
    from edgead_runtime.errors import EdgeadError
    from edgead_runtime.tensorrt.building import check_can_build
    from edgead_runtime.tensorrt.capability import check_capability
    from edgead_runtime.tensorrt.options import BuildOptions

    if no_build and (engine is None or sm):
        raise EdgeadError(
            "--no-build writes the files for an engine, and builds for no GPU",
            "Name the engine with --engine, and leave out --sm.",
        )
    if engine is None or no_build:
        return None
    options = BuildOptions(sm=tuple(sm))
    _, _, here = check_can_build(engine.value, options)
    for precision in precisions:
        check_capability(precision, options, None if here is None else here.sm)
    return engine.value, options


def build_engines(
    terminal: Terminal,
    bundle: Path,
    manifest: EncoderManifest,
    precisions: tuple[Precision, ...],
    flavour: FlavourName,
    options: BuildOptions,
) -> list[dict[str, Any]]:
    """Engines beside the encoder, as ``edgead-runtime build`` makes them: of each file that was asked for.

    fp32 is built where no other precision was named, or none of them passed its gate.
    """
    from edgead_runtime.tensorrt.building import build_engine
    from msgspec import to_builtins

    there = {file.precision for file in manifest.files}
    wanted: list[Precision] = [name for name in precisions if name in there and name != "fp32"]
    found = []
    for precision in wanted or ["fp32"]:
        terminal.step(f"building the {precision} engine")
        built = build_engine(bundle, flavour, options, precision=precision)
        for line in built.lines():
            terminal.say(line)
        found.append({"plan": str(built.path), "record": to_builtins(built.record)})
    return found
