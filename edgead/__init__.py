"""edgead: training-free visual anomaly detection at the camera. Export, enrol, detect."""

from edgead._version import __version__

__all__ = ["__version__"]
