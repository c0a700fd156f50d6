"""Typed errors. Each says what is wrong with which file or option, and what to do next.

Everything a user can get wrong raises a subclass of :class:`EdgeadError`; the command line prints
``problem`` and ``remedy`` on one line and never a traceback.
"""

from __future__ import annotations


class EdgeadError(Exception):
    """Base of every error that a user can cause and mend.

    Args:
        problem: What is wrong, with the name of the file or option.
        remedy: What to do next, as an instruction.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem.rstrip('.')}. {self.remedy}"


class BundleError(EdgeadError):
    """An encoder or detector bundle is missing, truncated, altered or not a bundle."""


class PrecisionMissingError(BundleError):
    """An encoder bundle has no file of the precision asked for."""


class SchemaVersionError(BundleError):
    """A bundle was written by a newer edgead than this one, or by one that is too old for it."""


class EncoderNotFoundError(BundleError):
    """A detector names an encoder that is not where it was."""


class EncoderMismatchError(BundleError):
    """A detector was enrolled with another encoder than the one given."""


class EngineUnavailableError(EdgeadError):
    """The engine or device asked for is not on this machine."""


class EngineBuildError(EdgeadError):
    """An engine cannot be built from a graph."""


class EngineMismatchError(EngineUnavailableError):
    """An engine was built for another GPU, another TensorRT or another graph than what is here."""


class GpuError(EdgeadError):
    """A call of the GPU failed."""


class GpuMemoryError(GpuError):
    """The GPU's memory is used up. What was there before still works."""


class GpuLostError(GpuError):
    """The GPU answers no more; nothing that this process has on it can be used again."""


class IndexUnavailableError(EdgeadError):
    """The search index asked for is not on this machine, or does not fit the recipe."""


class PictureError(EdgeadError):
    """A picture or frame cannot be read or is not usable."""


class FrameSizeError(PictureError):
    """A frame has another size than the pictures the detector was enrolled with."""


class EnrollmentError(EdgeadError):
    """The pictures or options given do not make a detector."""


class RecipeError(EdgeadError):
    """A recipe contradicts itself or its encoder."""


class OutputError(EdgeadError):
    """A result cannot be written."""


class SourceError(EdgeadError):
    """A source of frames cannot be used as it was given; trying again would not help."""


class SourceLostError(SourceError):
    """A source of frames does not answer now and may come back."""


class StreamStoppedError(EdgeadError):
    """A stream ended unasked: its engine hangs, or fails on every frame."""


class SinkError(EdgeadError):
    """A message could not be handed on now; it is kept and tried again."""


class SinkRefusedError(SinkError):
    """The receiver will never take this message; it is counted and passed over."""


class LearningError(EdgeadError):
    """A lesson of a person at the line cannot be taken, kept or taken back."""


class ConfigError(EdgeadError):
    """A configuration file or value is not valid."""
