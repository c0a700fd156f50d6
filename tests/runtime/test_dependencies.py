"""What the runtime drags in: seen from outside, in a process of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import edgead_runtime
import numpy as np
import pytest
from edgead_runtime import Detector, _requirements
from edgead_runtime.errors import EngineUnavailableError

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = ("torch", "torchvision", "transformers", "onnx", "onnxscript", "scipy", "sklearn", "matplotlib")

_RUN = """
import json, sys
import numpy as np
sys.path.insert(0, {runtime!r})
from edgead_runtime import Detector
with Detector.load({bundle!r}, threads=1) as detector:
    result = detector(np.load({frame!r}))
    detector.add_good(np.load({frame!r}))
    answer = dict(score=result.score, peak=float(result.map.max()), regions=len(result.regions))
print(json.dumps(dict(answer, modules=sorted(sys.modules))))
"""


def test_a_bundle_runs_without_the_training_stack(mini_encoder, good_frames, defective, quick, tmp_path):
    detector = Detector.enroll(mini_encoder, good_frames[:3], recipe=quick.with_(mask="on"))
    detector.save(tmp_path / "part.edgead", self_contained=True)
    np.save(tmp_path / "frame.npy", defective.frame)
    code = _RUN.format(
        runtime=str(Path(edgead_runtime.__file__).parents[1]),
        bundle=str(tmp_path / "part.edgead"),
        frame=str(tmp_path / "frame.npy"),
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    loaded = {module.partition(".")[0] for module in answer["modules"]}
    assert loaded.isdisjoint({*FORBIDDEN, "edgead", "edgead_export"})
    expected = detector(defective.frame)
    assert answer["score"] == pytest.approx(expected.score, rel=1e-6)
    assert answer["regions"] == len(expected.regions) >= 1


def test_packages_depend_on_each_other_one_way():
    """The contracts in pyproject.toml, by import-linter."""
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which(
        "lint-imports"
    )
    if command is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [command, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_without_opencv_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(_requirements, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match="no cv2") as caught:
        _requirements.require_opencv()
    assert 'pip install "edgead-runtime[cpu]"' in caught.value.remedy


def test_what_the_readme_imports_is_there():
    for name in edgead_runtime.__all__:
        assert getattr(edgead_runtime, name) is not None
