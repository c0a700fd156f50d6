"""A camera as the loop knows it, and what is counted of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from edgead_runtime.errors import ConfigError
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.decisions import Rules
from edgead_runtime.streaming.engine_thread import Inspects
from edgead_runtime.streaming.names import check_name
from edgead_runtime.streaming.sources.base import Source
from edgead_runtime.streaming.sources.files import Pictures, WatchedFolder
from edgead_runtime.streaming.triggers import Trigger
from edgead_runtime.streaming.zones import Zone

_REMEMBERED = 1024


@dataclass(frozen=True)
class Camera:
    """One camera with the detector that looks at its frames. Detectors may share an encoder."""

    name: str
    detector: Inspects
    source: Source
    budget_ms: float | None = None
    """Milliseconds from capture to verdict that should not be exceeded; a result above is ``late``."""
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    rules: Rules = field(default_factory=Rules)
    zones: tuple[Zone, ...] = ()
    trigger: Trigger | None = None
    skip_unchanged: float | None = None
    """Answer as for the last inspected frame where no spot differs from it by more than so many grey levels,
    see :class:`~edgead_runtime.unchanged.UnchangedFrames`. Needs a :class:`~edgead_runtime.Detector`."""

    def __post_init__(self) -> None:
        if self.skip_unchanged is not None and (
            self.trigger is not None or isinstance(self.source, Pictures | WatchedFolder)
        ):
            raise ConfigError(
                f"skip_unchanged is given for {self.name}, whose every frame is another part",
                "Leave it out: parts that look alike would pass uninspected.",
            )
        check_name(self.name, "a camera")
        if self.budget_ms is not None and not self.budget_ms > 0:
            raise ConfigError(f"budget_ms is {self.budget_ms}", "Give milliseconds above 0.")
        if self.zones and not hasattr(self.detector, "calibration"):
            needing = [zone.name for zone in self.zones if zone.threshold is None]
            if needing:
                raise ConfigError(
                    f"zone {needing[0]} has no threshold and the detector has none to lend",
                    "Give the zone a threshold.",
                )


@dataclass(frozen=True)
class CameraStats:
    """What has happened since the stream began.

    Each captured frame was inspected, dropped, skipped or not inspected, or is still on its way.
    """

    captured: int
    inspected: int
    dropped: int
    """Replaced by a newer frame before the engine was free."""
    skipped: int
    """Not wanted: above ``max_fps``, or no trigger."""
    not_inspected: int
    """Unusable or refused: neither good nor anomalous."""
    anomalies: int
    late: int
    """Inspected, but beyond the budget."""
    degraded: int
    """Inspected with less than full quality, to keep the budget."""
    repeated: int
    """Of the inspected: answered as the frame before, since nothing had changed (``skip_unchanged``)."""
    reconnects: int
    triggers_missed: int
    """Firings for which no frame was taken; each is a part that nobody inspected."""
    open_events: int
    latency_ms: dict[str, float]
    """``p50`` and ``p99`` from capture to verdict, of the last 1024 frames."""
    troubles: dict[str, str]
    """What is wrong now."""


@dataclass
class Tally:
    """The counts of one camera that the loop keeps."""

    inspected: int = 0
    not_inspected: int = 0
    anomalies: int = 0
    late: int = 0
    degraded: int = 0
    repeated: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def quantiles(self) -> dict[str, float]:
        """``p50`` and ``p99`` in milliseconds; empty before the first frame."""
        if not self.latencies_ms:
            return {}
        p50, p99 = np.percentile(np.array(self.latencies_ms.copy()), [50, 99])  # read from other threads
        return {"p50": float(p50), "p99": float(p99)}
