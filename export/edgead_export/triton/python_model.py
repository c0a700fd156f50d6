"""An edgead detector in Triton's Python backend. Written by ``edgead export --triton --backend python``.

The server's Python needs ``edgead-runtime`` with an engine: ``pip install "edgead-runtime[cpu]"``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from edgead_runtime import Detector, EdgeadError


class TritonPythonModel:
    """The name and the three methods are what Triton asks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the detector that lies beside this file.

        Args:
            args: What Triton says of the model.
        """
        settings = json.loads(args["model_config"])["parameters"]
        path = Path(args["model_repository"]) / args["model_version"] / "detector.edgead"
        self._detector = Detector.load(
            path, **{name: settings[name]["string_value"] for name in ("engine", "precision")}
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, an error for a frame that cannot be inspected."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        frame = pb_utils.get_input_tensor_by_name(request, "frame").as_numpy()
        wanted = set(request.requested_output_names())
        try:
            result = self._detector(frame)
            found = {
                "score": np.array([result.score], np.float32),
                "anomaly": np.array([result.is_anomaly]),
                "distances": result.patch_distances,
            }
            if "map" in wanted:  # made when asked for, and as large as the frame
                found["map"] = result.map
            if "regions" in wanted:
                boxes = [(region.x, region.y, region.width, region.height) for region in result.regions]
                found["regions"] = np.array(boxes, np.int64).reshape(-1, 4)
        except EdgeadError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, value) for name, value in found.items() if name in wanted]
        )

    def finalize(self) -> None:
        """Give back what the engine holds."""
        self._detector.close()
