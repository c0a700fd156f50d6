"""How to build an engine."""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from edgead_runtime.errors import EngineBuildError

Hardware = Literal["this", "same-capability", "ampere-plus"]
Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Least, usual and largest."""

MIB = 1 << 20
_LEVELS = range(6)
_MOST = 2**31 - 1
"""Of any number: beyond it TensorRT's own types end, somewhere."""


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person can choose; kept beside the engine, so that it can be built the same way again."""

    workspace_mib: int | None = None
    """Memory that a layer may use while it runs; ``None``: all of the GPU's."""
    optimization_level: int = 3
    """0 to 5: how long TensorRT looks for a faster engine; 3 is its own default."""
    timing_cache: bool = True
    """Remember how long kernels took; the next build is then several times as fast."""
    hardware: Hardware = "this"
    """``this``: the GPU model that is here. ``same-capability``: any of its compute capability (TensorRT
    10.9). ``ampere-plus``: any GPU of Ampere or newer, but no Jetson; slower."""
    version_compatible: bool = False
    """The engine also runs in newer TensorRTs of the same major version, and is slower to load."""
    tf32: bool = False
    """Let products of fp32 numbers round their factors to 10 bits. TensorRT's own default; here it is off,
    since it moves a distance by up to 1e-3."""
    batch: tuple[int, int, int] = (1, 1, 1)
    """Least, usual and largest batch of an encoder whose batch was left open."""
    bank_blocks: tuple[int, int] = (16, 256)
    """Usual and largest number of blocks of the frame graph's bank (a good picture takes one a view)."""
    map_hw: tuple[int, int] = (1, 1)
    """Largest map of the frame graph. A detector makes its maps itself, and asks for one pixel."""
    sm: tuple[int, ...] = ()
    """Compute capabilities as one number each, e.g. 86 and 89; for TensorRT for RTX alone."""

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            EngineBuildError: A number is out of range.
        """
        least, usual, largest = self.batch
        workspace = 1 if self.workspace_mib is None else self.workspace_mib
        problems = {
            f"optimization level of {self.optimization_level}": self.optimization_level not in _LEVELS,
            f"workspace of {self.workspace_mib} MiB": not 1 <= workspace <= _MOST,
            f"batches of {least}, {usual}, {largest}": not 1 <= least <= usual <= largest <= _MOST,
            "bank of {} and up to {} blocks".format(*self.bank_blocks): not 1
            <= self.bank_blocks[0]
            <= self.bank_blocks[1]
            <= _MOST,
            "map of {} x {}".format(*self.map_hw): min(self.map_hw) < 1 or max(self.map_hw) > _MOST,
        }
        for what, wrong in problems.items():
            if wrong:
                raise EngineBuildError(
                    f"TensorRT takes no {what}",
                    f"Levels are 0 to 5; sizes grow, start at 1 and end at {_MOST}.",
                )

    def arguments(self) -> str:
        """The options that are not the default, as ``edgead-runtime build`` takes them."""
        words: list[str] = []
        default = BuildOptions()
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value == getattr(default, field):
                continue
            if field == "timing_cache":
                words.append("--no-timing-cache")
                continue
            words.append("--" + field.replace("_", "-"))
            if isinstance(value, tuple):
                words += map(str, value)
            elif value is not True:
                words.append(str(value))
        return shlex.join(words)


def refuse_dla() -> None:
    """Say why an engine is not built for a Jetson's DLA.

    Raises:
        EngineBuildError: Always.
    """
    raise EngineBuildError(
        "a vision transformer does not run on a DLA: it has no LayerNorm, no product of two activations "
        "(which attention is made of) and no loop, so that nearly every layer would fall back to the GPU",
        "Build for the GPU, without --dla.",
    )
