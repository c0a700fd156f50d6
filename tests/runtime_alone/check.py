"""In an environment with the runtime's wheel alone, a detector bundle runs and scores as it did elsewhere."""

import json
import sys
from importlib.metadata import distributions
from pathlib import Path

FORBIDDEN = {"torch", "onnx", "onnxscript", "transformers", "edgead", "edgead-export"}


def main(path: Path) -> None:
    installed = {distribution.metadata["Name"].lower() for distribution in distributions()}
    assert not installed & FORBIDDEN, installed & FORBIDDEN

    from edgead_runtime import Detector, read_picture

    expected = json.loads(path.with_suffix(".json").read_text())
    with Detector.load(path, any_size=True) as detector:
        for name, score in expected.items():
            result = detector(read_picture(path.parent / name).frame)
            assert abs(result.score - score) <= 1e-4 * max(score, 1e-3), (name, result.score, score)
            assert result.map.shape == read_picture(path.parent / name).frame.shape[:2]
            print(f"{name}: score {result.score:.4f} as expected")
    assert not {"torch", "onnx", "transformers"} & set(sys.modules)
    print(f"runtime alone: {len(installed)} distributions, no training stack")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
