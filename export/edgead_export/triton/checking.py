"""Whether what is served gives what the detector gives, before it is written."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from edgead_runtime import Detector, frame_graph
from edgead_runtime.engines import Engine, EngineOptions, create_engine
from edgead_runtime.images import Frame
from edgead_runtime.tensorrt.parity import gate_pictures

from edgead_export.errors import TritonError
from edgead_export.triton.baking import ANOMALY

LIMIT = 1e-4
"""Of score, distances and map, in units of distance."""


@dataclass(frozen=True)
class ServedParity:
    """Largest differences between a served model and its detector, in units of distance."""

    engine: str
    pictures: int
    score_error: float
    distance_error: float
    map_error: float
    same_verdicts: bool

    @property
    def passed(self) -> bool:
        """Whether it is within the limit everywhere; a NaN is not."""
        errors = (self.score_error, self.distance_error, self.map_error)
        return self.same_verdicts and all(error <= LIMIT for error in errors)


def frames_to_compare(detector: Detector, frame_hw: tuple[int, int]) -> list[Frame]:
    """A good picture of the detector's own, and four photographs at its frames' size, on which it alarms."""
    height, width = frame_hw
    strangers = [
        np.asarray(cv2.resize(picture.frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        for picture in gate_pictures()
    ]
    return [detector.references[0].picture.frame, *strangers]


def check_served(data: bytes, detector: Detector, frame_hw: tuple[int, int], engine: str) -> ServedParity:
    """Run the file and the detector on the same frames.

    Args:
        data: The baked graph.
        detector: What it was made from, in the same engine and precision.
        frame_hw: Size of its frames (height, width).
        engine: Name of the engine to run the file in.
    """
    precision = detector.encoder.precision
    options = EngineOptions(precision=precision if precision in ("int8", "fp8") else "fp32")
    with create_engine(data, engine, options) as running:
        return compare_served(running, detector, frame_hw)


def compare_served(running: Engine, detector: Detector, frame_hw: tuple[int, int]) -> ServedParity:
    """Compare an engine that runs the baked graph with the detector."""
    frames = frames_to_compare(detector, frame_hw)
    errors: dict[str, list[float]] = {"score": [], "distances": [], "map": []}
    same = True
    for frame in frames:
        expected = detector(frame)
        found = running.run({frame_graph.FRAME: detector.encoder.preprocessor.resize(frame)[None]})
        pairs = {
            "score": (found[frame_graph.SCORE], np.float32(expected.score)),
            "distances": (found[frame_graph.DISTANCES], expected.patch_distances),
            "map": (found[frame_graph.MAP], expected.map),
        }
        for name, (given, right) in pairs.items():
            errors[name].append(float(np.abs(np.asarray(given, np.float32) - right).max()))
        same &= bool(found[ANOMALY][0]) == expected.is_anomaly or _on_the_edge(detector, expected.score)
    # numpy's maximum keeps a NaN, and a NaN fails.
    score, distances, anomaly_map = (float(np.max(errors[name])) for name in ("score", "distances", "map"))
    return ServedParity(running.name, len(frames), score, distances, anomaly_map, same)


def _on_the_edge(detector: Detector, score: float) -> bool:
    """Whether rounding alone may decide the verdict."""
    return abs(score - detector.threshold) <= LIMIT


def require_same(parity: ServedParity) -> None:
    """Refuse a file that gives something else.

    Raises:
        TritonError: With how far it is off.
    """
    if not parity.passed:
        raise TritonError(
            f"the baked graph does not give what the detector gives in {parity.engine}: scores are off by "
            f"{parity.score_error:.1e}, distances by {parity.distance_error:.1e}, maps by "
            f"{parity.map_error:.1e} (limit {LIMIT:.0e}); nothing was written",
            "Serve it with --backend python or onnxruntime, and report this.",
        )
