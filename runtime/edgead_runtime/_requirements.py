"""What the base distribution leaves to its extras, checked on import."""

from __future__ import annotations

from importlib.util import find_spec

from edgead_runtime.errors import EngineUnavailableError


def require_opencv() -> None:
    """Say what to install where no flavour of OpenCV is there.

    Raises:
        EngineUnavailableError: ``cv2`` cannot be found.
    """
    if find_spec("cv2") is None:
        raise EngineUnavailableError(
            "edgead-runtime needs OpenCV and an inference engine, and this environment has no cv2",
            'Install them: pip install "edgead-runtime[cpu]" (or [gpu]; on a Jetson, JetPack has its own).',
        )
