"""What a detector says of a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.anomaly_map import Region


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: encoder, weights and recipe."""

    encoder: str
    """Fingerprint of the encoder bundle."""
    backbone: str
    weights: str
    official_weights: bool
    recipe: str
    engine: str


@dataclass(frozen=True, eq=False)
class Result:
    """Score, verdict and, when asked for, the map of one frame.

    ``map`` and ``regions`` are made on first access: a loop that reads only ``score`` pays nothing for
    them. A result may be handed to another thread; it holds no reference to the frame.
    """

    score: float
    """Mean of the largest patch distances; 0 is "seen before"."""
    threshold: float
    """Scores above this are anomalous."""
    patch_distances: NDArray[np.float32]
    """Patch distances ``[rows, columns]``; outside the mask 0, or damped as the recipe says. Read-only."""
    mask: NDArray[np.bool_] | None
    """Patches that count in full ``[rows, columns]``, or ``None`` where nothing is masked."""
    provenance: Provenance
    degraded: tuple[str, ...] = ()
    """What a latency budget took away; empty at full quality."""
    notes: tuple[str, ...] = ()
    """What a person should know of how this frame was inspected, e.g. that it could not be aligned."""
    repeated: bool = False
    """Nothing had changed since an earlier frame: this is what was said of that one."""
    pixel_threshold: float = field(kw_only=True)
    """Map values above this make a region. As ``threshold``, that of the setting that answered."""
    _make_map: Callable[[], NDArray[np.float32]] = field(repr=False, kw_only=True)
    _find_regions: Callable[[NDArray[np.float32], bool], tuple[Region, ...]] = field(repr=False, kw_only=True)
    _timings_ms: dict[str, float] = field(repr=False, kw_only=True)

    @property
    def is_anomaly(self) -> bool:
        """Whether the score is above the threshold."""
        # Not "above": a score that is no number must never pass as good.
        return not self.score <= self.threshold

    @property
    def times_threshold(self) -> float:
        """Score over threshold: what can be compared between settings, whose scores differ in scale.

        A threshold of 0 is taken for the smallest number there is.
        """
        return self.score / max(self.threshold, float(np.finfo(np.float32).tiny))

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """Milliseconds per stage; ``map`` is there once the map was made."""
        return dict(self._timings_ms)

    @cached_property
    def map(self) -> NDArray[np.float32]:
        """Anomaly map ``[H, W]`` at the size of the frame, in units of patch distance."""
        start = time.perf_counter()
        anomaly_map = self._make_map()
        anomaly_map.flags.writeable = False  # the regions are found in it later
        self._timings_ms["map"] = (time.perf_counter() - start) * 1e3
        return anomaly_map

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Boxes and areas above the pixel threshold, strongest first.

        An anomalous frame always has at least one: where nothing reaches the pixel threshold, the region
        around the map's peak.
        """
        return self._find_regions(self.map, self.is_anomaly)
