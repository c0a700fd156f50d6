"""Screening a batch of pictures with no reference at all."""

from edgead.jobs.screen.outputs import Screening
from edgead.jobs.screen.run import ScreeningPlan, screen

__all__ = ["Screening", "ScreeningPlan", "screen"]
