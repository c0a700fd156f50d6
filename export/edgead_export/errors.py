"""What can go wrong on the way from weights to an encoder bundle."""

from __future__ import annotations

from edgead_runtime.errors import EdgeadError


class UnknownBackboneError(EdgeadError):
    """There is no backbone of that name."""


class ResolutionError(EdgeadError):
    """The resolution is not readable, or makes too few or too many patches."""


class LayerError(EdgeadError):
    """The backbone has no such block."""


class WeightsError(EdgeadError):
    """A weights file is not what it should be."""


class DownloadError(EdgeadError):
    """Something could not be fetched, or is not what was asked for."""


class TraceError(EdgeadError):
    """The encoder cannot be written as the ONNX file that was asked for."""


class PrecisionError(EdgeadError):
    """There is no such precision."""


class ParityError(EdgeadError):
    """The ONNX file does not compute what torch computes."""


class TritonError(EdgeadError):
    """This cannot be served by Triton, or not in this way."""
