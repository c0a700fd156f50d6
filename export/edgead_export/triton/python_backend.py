"""A detector in Triton's Python backend: the runtime itself, with everything that it does."""

from __future__ import annotations

from importlib import resources

from edgead_runtime import Detector
from edgead_runtime import __version__ as runtime_version
from edgead_runtime.manifest import Precision

from edgead_export.triton.baking import ANOMALY
from edgead_export.triton.config import OPEN, ServedModel, Tensor, WarmUp

SCRIPT = "python_model.py"


def python_model(
    name: str, detector: Detector, instances: int, precision: Precision
) -> tuple[ServedModel, str]:
    """The model, and the text of its ``model.py``.

    Frames go in as the camera gives them; the detector is to lie beside ``model.py`` as ``detector.edgead``.

    Args:
        name: Of the model.
        detector: The detector.
        instances: Copies that run at the same time.
        precision: That it is loaded in.
    """
    sizes = {reference.frame_hw for reference in detector.references}
    frame_hw = next(iter(sizes)) if len(sizes) == 1 else (OPEN, OPEN)
    some_hw = detector.references[0].frame_hw
    rows, columns = detector.encoder.manifest.grid
    weights = detector.encoder.manifest.weights
    model = ServedModel(
        name=name,
        backend="python",
        inputs=(Tensor("frame", "TYPE_UINT8", (*frame_hw, 3)),),
        outputs=(
            Tensor("score", "TYPE_FP32", (1,)),
            Tensor(ANOMALY, "TYPE_BOOL", (1,)),
            Tensor("map", "TYPE_FP32", frame_hw),
            Tensor("distances", "TYPE_FP32", (rows, columns)),
            Tensor("regions", "TYPE_INT64", (OPEN, 4)),
        ),
        warm_up=WarmUp({"frame": (*some_hw, 3)}, frozenset({"frame"})),
        instances=instances,
        facts={
            "edgead.version": runtime_version,
            "edgead.recipe": detector.recipe.name,
            "edgead.weights": weights.source,
            "edgead.official_weights": str(weights.official).lower(),
            "edgead.threshold": repr(float(detector.threshold)),
            "edgead.pixel_threshold": repr(float(detector.calibration.pixel_threshold)),
            # Read by model.py; may be changed in the config, e.g. to openvino or tensorrt.
            "engine": "auto",
            "precision": precision,
        },
    )
    return model, resources.files(__package__).joinpath(SCRIPT).read_text(encoding="utf-8")
