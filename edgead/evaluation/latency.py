"""Where the time of a picture goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgead.records import InspectedPicture, PictureRecord

_STAGES = ("preprocess", "frame", "encode", "align", "search", "mask", "score", "map")


@dataclass(frozen=True)
class StageLatency:
    """Milliseconds of one stage over all pictures."""

    stage: str
    p50_ms: float
    p95_ms: float


def stage_latencies(records: Sequence[PictureRecord]) -> list[StageLatency]:
    """Median and 95th percentile of each stage and of the whole frame."""
    timings = [record.timings_ms for record in records if isinstance(record, InspectedPicture)]
    stages = [stage for stage in _STAGES if any(stage in timing for timing in timings)]
    columns = {stage: [timing.get(stage, 0.0) for timing in timings] for stage in stages}
    if timings:
        columns["total"] = [sum(timing.get(stage, 0.0) for stage in stages) for timing in timings]
    return [
        StageLatency(stage, float(np.percentile(values, 50)), float(np.percentile(values, 95)))
        for stage, values in columns.items()
    ]
