"""Drift: whether a camera still sees what it saw at enrolment."""

from edgead_runtime.streaming.drift.baseline import Baseline
from edgead_runtime.streaming.drift.listener import Drift
from edgead_runtime.streaming.drift.settings import DriftSettings

__all__ = ["Baseline", "Drift", "DriftSettings"]
