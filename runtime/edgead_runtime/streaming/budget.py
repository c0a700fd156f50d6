"""Where a stream's latency budget meets a detector that can keep one."""

from __future__ import annotations

from typing import Any


def set_budget(detector: Any, budget_ms: float | None) -> None:
    """Tell a detector what a frame may take, where it can be told.

    A detector without ``set_budget`` runs at full quality, and the stream counts its late frames.

    Args:
        detector: What inspects.
        budget_ms: Milliseconds; ``None`` leaves it as it is.
    """
    if budget_ms is not None and hasattr(detector, "set_budget"):
        detector.set_budget(budget_ms)
