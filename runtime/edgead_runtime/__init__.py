"""Training-free visual anomaly detection on the device: enrol good pictures, find what they do not have.

    from edgead_runtime import Detector

    detector = Detector.load("part.edgead")
    result = detector(frame_bgr)

Needs numpy, Pillow, OpenCV and one inference engine; never torch.
"""

from typing import TYPE_CHECKING, Any

from edgead_runtime._requirements import let_blas_rest, require_opencv

let_blas_rest()
require_opencv()

from edgead_runtime._version import __version__  # noqa: E402
from edgead_runtime.anomaly_map import Region  # noqa: E402
from edgead_runtime.bank import Reference  # noqa: E402
from edgead_runtime.detector import Detector  # noqa: E402
from edgead_runtime.encoder import Encoder  # noqa: E402
from edgead_runtime.encoder_bundle import EncoderBundle  # noqa: E402
from edgead_runtime.errors import EdgeadError  # noqa: E402
from edgead_runtime.images import Picture, find_pictures, read_picture  # noqa: E402
from edgead_runtime.presets import RECIPES, find_recipe, get_recipe  # noqa: E402
from edgead_runtime.recipe import Recipe  # noqa: E402
from edgead_runtime.result import Provenance, Result  # noqa: E402

if TYPE_CHECKING:
    from edgead_runtime.streaming.api import stream

__all__ = [
    "RECIPES",
    "Detector",
    "EdgeadError",
    "Encoder",
    "EncoderBundle",
    "Picture",
    "Provenance",
    "Recipe",
    "Reference",
    "Region",
    "Result",
    "__version__",
    "find_pictures",
    "find_recipe",
    "get_recipe",
    "read_picture",
    "stream",
]


def __getattr__(name: str) -> Any:
    # Who inspects files needs no threads, no SQLite and no HTTP.
    if name == "stream":
        from edgead_runtime.streaming.api import stream

        return stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
