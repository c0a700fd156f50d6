"""A TensorRT plan for Triton, built and compared on the GPU that will serve it.

Run on a simulated GPU, in the tests. Not run: on a real one.
"""

from __future__ import annotations

import numpy as np
from edgead_runtime import Detector, frame_graph
from edgead_runtime.agreement import rank_correlation
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.api import FlavourName
from edgead_runtime.tensorrt.builder import build_plan
from edgead_runtime.tensorrt.building import check_can_build, make_record
from edgead_runtime.tensorrt.capability import check_capability
from edgead_runtime.tensorrt.device import open_device
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.parity import LIMITS

from edgead_export.errors import TritonError
from edgead_export.triton.checking import frames_to_compare

_FLAVOUR: FlavourName = "tensorrt"


def check_can_plan() -> None:
    """Refuse where there is no TensorRT or no GPU.

    Raises:
        EngineUnavailableError: One of them is missing.
    """
    check_can_build(_FLAVOUR, BuildOptions())


def build_served_plan(
    data: bytes,
    detector: Detector | None,
    map_hw: tuple[int, int],
    precision: Precision,
    max_batch: int = 0,
) -> bytes:
    """Build the plan of a model; one of a detector is compared with the detector.

    Args:
        data: The ONNX file.
        detector: What the file was baked from; ``None`` for an encoder, whose engine
            ``edgead-runtime build`` compares.
        map_hw: Largest map that may be asked for, where the file leaves its size open.
        precision: Of the file.
        max_batch: Most pictures at once, where the file leaves that open.

    Raises:
        EngineBuildError: TensorRT does not build it.
        TritonError: The engine gives something else than the detector.
    """
    most = max(max_batch, 1)
    options = BuildOptions(map_hw=map_hw, batch=(1, max(most // 2, 1), most))
    flavour, trt, here = check_can_build(_FLAVOUR, options)
    check_capability(precision, options, None if here is None else here.sm)
    plan = build_plan(trt, flavour, data, options)
    if detector is None:
        return plan.data
    again = "edgead export --triton"
    record = make_record(flavour, trt, here, "frame", precision, data, plan, options, again)
    with TensorRtEngine(trt, flavour, open_device(), plan.data, record) as engine:
        _require_agreement(engine, detector, map_hw, precision, trt.__version__)
    return plan.data


def _require_agreement(
    engine: TensorRtEngine, detector: Detector, frame_hw: tuple[int, int], precision: Precision, version: str
) -> None:
    """By the order of each photograph's patches. A good picture's distances are near 0 and say little."""
    limit = LIMITS[precision].rank_correlation
    found = []
    for frame in frames_to_compare(detector, frame_hw)[1:]:
        outputs = engine.run(
            {frame_graph.FRAME: detector.encoder.preprocessor.resize(frame)[None]}, [frame_graph.DISTANCES]
        )
        given = np.asarray(outputs[frame_graph.DISTANCES], np.float32).ravel()
        found.append(rank_correlation(detector(frame).patch_distances.ravel(), given))
    if not np.min(found) >= limit:  # NaN where a distance is one, which Python's min may pass over
        raise TritonError(
            f"the engine does not give what the detector gives: rank correlation of the distances "
            f"{np.min(found):.4f} (limit {limit}); nothing was written",
            f"Serve it with --backend onnxruntime, or build with another TensorRT than {version}.",
        )
