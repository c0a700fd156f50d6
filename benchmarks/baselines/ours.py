"""edgead: the runtime alone. Neither torch nor onnx is imported in its process."""

from __future__ import annotations

import time

from edgead_runtime import Detector
from edgead_runtime.manifest import Precision

from benchmarks.baselines.job import Frame, Inspect, Inspected, Job


def make(
    job: Job, *, engine: str, precision: Precision = "fp32", fused: bool = True, area: bool = False
) -> Inspect:
    """A detector, loaded as a line loads it; by the frame graph unless told otherwise."""
    path = job.area_detector if area else job.detector
    detector = Detector.load(path, engine=engine, precision=precision, fused=fused, any_size=True)

    def inspect(frame: Frame) -> Inspected:
        start = time.perf_counter()
        result = detector(frame)
        _ = result.map
        total = (time.perf_counter() - start) * 1e3
        return Inspected({**result.timings_ms, "total": total}, result.score, result.patch_distances.ravel())

    return inspect
