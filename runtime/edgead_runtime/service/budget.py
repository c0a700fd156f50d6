"""Where a camera's latency budget meets a detector that can keep one."""

from __future__ import annotations

import inspect
from typing import Any

from edgead_runtime.detector import Detector


def budget_options(budget_ms: float | None) -> dict[str, Any]:
    """What to load a detector with so that it keeps a budget.

    Args:
        budget_ms: Milliseconds; ``None``: no budget.

    Returns:
        Options of :meth:`Detector.load`; empty where this runtime's detectors cannot keep one, and the stream
        only counts late frames.
    """
    if budget_ms is None or "budget_ms" not in inspect.signature(Detector.load).parameters:
        return {}
    return {"budget_ms": budget_ms}
