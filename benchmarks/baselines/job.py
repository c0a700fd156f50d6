"""What a way is given and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
ANGLES = (0, 45, 90, 135, 180, 225, 270, 315)
PATCH = 14
GEMM_SIDE = 1536
"""Of the matrices that the floor is measured with: large enough for full speed, and they lie in a cache."""
GEMM_REPEATS = 8
GEMM_GFLOP = 2e-9 * GEMM_SIDE**3 * GEMM_REPEATS
"""Of one measurement."""


@dataclass(frozen=True)
class Job:
    """The work, the same for all ways."""

    resolution: int
    """Side of the encoder's input in pixels."""
    frames: tuple[str, ...]
    """Picture files; the first is the reference."""
    detector: str = ""
    """An .edgead file made from the same reference."""
    area_detector: str = ""
    """The same with an encoder whose frames are resized by area."""
    plain_onnx: str = ""
    """A plain export of the same weights."""


@dataclass(frozen=True)
class Inspected:
    """What a way says of a frame."""

    stages_ms: dict[str, float]
    score: float
    distances: NDArray[np.float32] | None = None
    """``[N]`` patch distances, where the way gives them."""


Inspect = Callable[[Frame], Inspected]
"""Takes a frame ``[H, W, 3]`` uint8, BGR."""


@dataclass
class Clock:
    """Milliseconds by stage; each begins where the one before it ended."""

    stages_ms: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)
    _last: float = field(default_factory=time.perf_counter)

    def stage(self, name: str) -> None:
        """The stage of this name ends now."""
        now = time.perf_counter()
        self.stages_ms[name] = (now - self._last) * 1e3
        self._last = now

    def stop(self) -> dict[str, float]:
        """The stages and the total."""
        self.stages_ms["total"] = (time.perf_counter() - self._start) * 1e3
        return self.stages_ms
