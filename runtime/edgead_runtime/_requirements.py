"""On import: what the base distribution leaves to its extras, and what is settled before NumPy is loaded."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from edgead_runtime.errors import EngineUnavailableError

OPENBLAS_REST = "OPENBLAS_THREAD_TIMEOUT"
"""After how many cycles, as a power of two, an idle thread of OpenBLAS stops spinning. It reads it once."""


def let_blas_rest() -> None:
    """Have NumPy's threads sleep as soon as a product is done, if NumPy is not loaded yet.

    They spin for a thirtieth of a second otherwise, on the cores that the encoder then wants: an encode after
    one product on the host took a tenth longer, or more (``python -m benchmarks.spinning``). Whoever loads
    NumPy before ``edgead_runtime`` sets the variable to 4 themselves; one that is set is left as it is.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault(OPENBLAS_REST, "4")


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
