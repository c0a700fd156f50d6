"""A TensorRT plan for Triton, built and compared on the GPU that will serve it.

Run on a simulated GPU, in the tests. Not run: on a real one.
"""

from __future__ import annotations

from typing import Literal

from edgead_runtime import Detector, EncoderBundle
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.api import FlavourName
from edgead_runtime.tensorrt.builder import build_plan
from edgead_runtime.tensorrt.building import check_can_build, make_record
from edgead_runtime.tensorrt.capability import check_capability
from edgead_runtime.tensorrt.device import open_device
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.gate import judge
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.parity import LIMITS, gate_pictures, require_passed
from edgead_runtime.tensorrt.record import EngineParity

from edgead_export.errors import TritonError
from edgead_export.triton.checking import ServedParity, Tolerance, compare_served

_FLAVOUR: FlavourName = "tensorrt"
_SHARES = {"fp32": 0.01, "fp16": 0.05}
"""How far scores, distances and maps may be from the detector's, which runs the same file in ONNX Runtime. In
a smaller precision the two round in different places; then it is the gate's own limit."""


def check_can_plan() -> None:
    """Refuse where there is no TensorRT or no GPU.

    Raises:
        EngineUnavailableError: One of them is missing.
    """
    check_can_build(_FLAVOUR, BuildOptions())


def build_detector_plan(
    data: bytes, detector: Detector, frame_hw: tuple[int, int], precision: Precision
) -> tuple[bytes, ServedParity]:
    """Build the plan of a detector, and compare what it gives with what the detector gives.

    Args:
        data: The baked graph.
        detector: What it was baked from.
        frame_hw: Size of its frames (height, width).
        precision: Of the file.

    Raises:
        EngineBuildError: TensorRT does not build it.
        TritonError: The engine gives something else than the detector.
    """
    engine, plan, version = _build(data, "frame", precision, BuildOptions(map_hw=frame_hw))
    limits = LIMITS[precision]
    tolerance = Tolerance(_SHARES.get(precision, limits.distance_error), limits.rank_correlation)
    with engine:
        parity = compare_served(engine, detector, frame_hw, tolerance)
    if not parity.passed:
        raise TritonError(
            f"the engine does not give what the detector gives: {parity.figures()}, rank correlation of the "
            f"distances {parity.rank_correlation:.4f} (limit {parity.rank_limit}); nothing was written",
            f"Serve it with --backend onnxruntime, or build with another TensorRT than {version}.",
        )
    return plan, parity


def build_encoder_plan(
    data: bytes,
    bundle: EncoderBundle,
    graph: Literal["encoder", "frame"],
    precision: Precision,
    max_batch: int = 0,
) -> tuple[bytes, EngineParity]:
    """Build the plan of an encoder or of its frame graph, and pass it through the parity gate.

    Args:
        data: The bundle's file.
        bundle: Where it is from.
        graph: Which of its graphs.
        precision: Of the file.
        max_batch: Most pictures at once, where the file leaves that open; one at a time is compared.

    Raises:
        EngineBuildError: TensorRT does not build it, or it computes something else than ONNX Runtime in fp32.
    """
    entry = bundle.manifest.input
    most = max(max_batch, 1)
    options = BuildOptions(map_hw=(entry.height, entry.width), batch=(1, max(most // 2, 1), most))
    engine, plan, version = _build(data, graph, precision, options)
    parity = judge(bundle, engine, precision, gate_pictures())
    require_passed(parity, precision, version)
    return plan, parity


def _build(
    data: bytes, graph: Literal["encoder", "frame"], precision: Precision, options: BuildOptions
) -> tuple[TensorRtEngine, bytes, str]:
    """The engine, its plan, and the version that built it."""
    flavour, trt, here = check_can_build(_FLAVOUR, options)
    check_capability(precision, options, None if here is None else here.sm)
    plan = build_plan(trt, flavour, data, options)
    again = "edgead export --triton"
    record = make_record(flavour, trt, here, graph, precision, data, plan, options, again)
    engine = TensorRtEngine(trt, flavour, open_device(), plan.data, record)
    return engine, plan.data, trt.__version__
