"""Evaluating a recipe on a labelled data set."""

from edgead.jobs.evaluate.run import EvaluationPlan, evaluate

__all__ = ["EvaluationPlan", "evaluate"]
