"""In an environment with the runtime's wheel alone, a detector bundle runs and scores as it did elsewhere."""

import json
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

FORBIDDEN = {"torch", "onnx", "onnxscript", "transformers", "edgead", "edgead-export"}


def main(path: Path) -> None:
    installed = {distribution.metadata["Name"].lower() for distribution in distributions()}
    assert not installed & FORBIDDEN, installed & FORBIDDEN

    from edgead_runtime import Detector, read_picture

    expected = json.loads(path.with_suffix(".json").read_text())
    with Detector.load(path, any_size=True) as detector:
        for name, score in expected.items():
            result = detector(read_picture(path.parent / name).frame)
            # An enrolled picture scores 0 but for the rounding of 1 - cos in float32, which is some 1e-7.
            assert abs(result.score - score) <= max(1e-4 * score, 1e-6), (name, result.score, score)
            assert result.map.shape == read_picture(path.parent / name).frame.shape[:2]
            print(f"{name}: score {result.score:.4f} as expected")
        _in_the_loop(detector, [path.parent / name for name in expected])
    assert not {"torch", "onnx", "transformers"} & set(sys.modules)
    print(f"runtime alone: {len(installed)} distributions, no training stack")


def _in_the_loop(detector: Any, paths: list[Path]) -> None:
    """The same pictures through the loop and its outbox, which need no package more."""
    from edgead_runtime import read_picture, stream
    from edgead_runtime.service.config import parse_config
    from edgead_runtime.service.example import example_config
    from edgead_runtime.streaming import Delivery
    from edgead_runtime.streaming.sinks import JsonLines

    parse_config(example_config().encode(), "example", {"CAMERA_PASSWORD": "x"})
    folder = paths[0].parent
    pictures = [read_picture(path) for path in paths]
    detector.set_threshold(0.05)  # not all of them were enrolled
    with Delivery([JsonLines(folder / "events.jsonl")], outbox=folder / "outbox.db") as delivery:
        results = list(stream(detector, pictures, listeners=[delivery]))
    assert [result.frame.name for result in results] == [picture.name for picture in pictures]
    alone = [detector(picture.frame).score for picture in pictures]
    assert all(abs(r.score - score) <= 1e-6 for r, score in zip(results, alone, strict=True))
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert any(result.is_anomaly for result in results)
    assert (lines[0]["state"], lines[-1]["state"]) == ("opened", "closed")
    print(f"{len(results)} pictures in the loop, {len(lines)} messages delivered")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
