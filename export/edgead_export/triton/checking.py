"""Whether what is served gives what the detector gives, before it is written."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from edgead_runtime import Detector, frame_graph
from edgead_runtime.engines import Engine, EngineOptions, create_engine
from edgead_runtime.images import Frame
from edgead_runtime.tensorrt.parity import MapAgreement, gate_pictures

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
    """But for scores that are nearer to the threshold than the limit."""
    rank_correlation: float
    """Of the distances, on the photographs: a good picture's are near 0, and in no order worth the name."""
    limit: float = LIMIT
    rank_limit: float = -1.0

    @property
    def passed(self) -> bool:
        """Whether it is within the limits everywhere; what is no number is not."""
        errors = (self.score_error, self.distance_error, self.map_error)
        return (
            self.same_verdicts
            and all(error <= self.limit for error in errors)
            and self.rank_correlation >= self.rank_limit
        )

    def figures(self) -> str:
        """How far it is off, in words."""
        return (
            f"scores are off by {self.score_error:.1e}, distances by {self.distance_error:.1e}, maps by "
            f"{self.map_error:.1e} (limit {self.limit:.0e})"
        )


@dataclass(frozen=True)
class Tolerance:
    """What an engine on another device may differ by."""

    share: float
    """Of the largest value of the photographs' maps, for scores, distances and maps."""
    rank_correlation: float


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


def compare_served(
    running: Engine, detector: Detector, frame_hw: tuple[int, int], tolerance: Tolerance | None = None
) -> ServedParity:
    """Compare an engine that runs the baked graph with the detector.

    Args:
        running: The engine.
        detector: What the graph was made from.
        frame_hw: Size of its frames (height, width).
        tolerance: Of another device or precision than the detector's; ``None``: :data:`LIMIT` everywhere.
    """
    frames = frames_to_compare(detector, frame_hw)
    expected = [detector(frame) for frame in frames]
    largest = max(float(result.map.max()) for result in expected[1:])
    limit = LIMIT if tolerance is None else max(LIMIT, tolerance.share * largest)
    errors: dict[str, list[float]] = {"score": [], "distances": [], "map": []}
    orders: list[float] = []
    same = True
    for frame, right in zip(frames, expected, strict=True):
        found = running.run({frame_graph.FRAME: detector.encoder.preprocessor.resize(frame)[None]})
        distances = np.asarray(found[frame_graph.DISTANCES], np.float32)
        pairs = {
            "score": (found[frame_graph.SCORE], np.float32(right.score)),
            "distances": (distances, right.patch_distances),
            "map": (found[frame_graph.MAP], right.map),
        }
        for name, (given, wanted) in pairs.items():
            errors[name].append(float(np.abs(np.asarray(given, np.float32) - wanted).max()))
        orders.append(MapAgreement.of(right.patch_distances.ravel(), distances.ravel()).rank_correlation)
        on_the_edge = abs(right.score - detector.threshold) <= limit
        same &= bool(found[ANOMALY][0]) == right.is_anomaly or on_the_edge
    # numpy's maximum keeps a NaN, and a NaN fails.
    score, distance, anomaly_map = (float(np.max(errors[name])) for name in ("score", "distances", "map"))
    return ServedParity(
        engine=running.name,
        pictures=len(frames),
        score_error=score,
        distance_error=distance,
        map_error=anomaly_map,
        same_verdicts=same,
        rank_correlation=float(np.min(orders[1:])),
        limit=limit,
        rank_limit=-1.0 if tolerance is None else tolerance.rank_correlation,
    )


def require_same(parity: ServedParity) -> None:
    """Refuse a file that gives something else.

    Raises:
        TritonError: With how far it is off.
    """
    if not parity.passed:
        raise TritonError(
            f"the baked graph does not give what the detector gives in {parity.engine}: {parity.figures()}; "
            "nothing was written",
            "Serve it with --backend python or onnxruntime, and report this.",
        )
