"""TensorRT for RTX as an engine: the plan that `edgead-runtime build` made for a graph."""

from __future__ import annotations

from edgead_runtime.engines.protocol import EngineOptions
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.opening import open_engine


def create(model: bytes, options: EngineOptions) -> TensorRtEngine:
    """The engine table's entry point.

    Raises:
        EngineBuildError: It was to be built again, and that failed.
        EngineUnavailableError: There is no GPU, no TensorRT, or no engine that was built for them.
        BundleError: The engine is damaged.
    """
    return open_engine(model, options, "tensorrt-rtx")
