"""Every name of TensorRT that the code uses is in the oldest and the newest release that it is for.

The type checker lets no name be used that ``tensorrt/api.py`` does not have; this holds ``api.py``, and the
members of enumerations, against lists that ``tensorrt_names/collect.py`` made from NVIDIA's own bindings.
"""

import json
from pathlib import Path

import edgead_runtime.tensorrt
import pytest
from tensorrt_names.reading import MODULE, Use, names_used, names_used_in

HERE = Path(__file__).parents[1] / "tensorrt_names"
RELEASES = {path.stem: json.loads(path.read_text())["names"] for path in sorted(HERE.glob("*.json"))}


def missing(uses: list[Use]) -> list[str]:
    """What some release that must have it has not."""
    problems = []
    for use in uses:
        having = {release: use.name in names.get(use.owner, ()) for release, names in RELEASES.items()}
        what = f"{use.where}: {use.owner + '.' if use.owner else ''}{use.name}"
        if use.needed == "some":
            if not any(having.values()):
                problems.append(f"{what} is in no release")
            continue
        problems += [
            f"{what} is not in {release}"
            for release, has in having.items()
            if not has and (use.needed == "every" or "rtx" in release)
        ]
    return problems


def test_the_lists_are_of_the_oldest_and_the_newest():
    assert list(RELEASES) == ["tensorrt-10.3.0", "tensorrt-11.4.0.106", "tensorrt-rtx-1.7.1.116"]
    assert all("Builder" in names[MODULE] for names in RELEASES.values())
    for names in RELEASES.values():
        assert "execute_async_v3" in names["IExecutionContext"]


def test_every_name_is_in_every_release():
    uses = names_used_in(Path(edgead_runtime.tensorrt.__file__).parent)
    assert len({(use.owner, use.name) for use in uses}) > 60
    assert {"rtx", "some", "every"} == {use.needed for use in uses}
    assert missing(uses) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16 is not in tensorrt-11.4"),
        ("flag = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)", "EXPLICIT_BATCH is not in"),
        ("level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", "is not in tensorrt-10.3.0"),
        ("levels = trt.ILogger.Severity\nworst = levels.TERRIBLE", "Severity.TERRIBLE is not in"),
        ("getattr(trt.BuilderFlag, 'FASTER', None)", "FASTER is in no release"),
        ("type('L', (trt.ILogger,), {'speak': 1})", "ILogger.speak is not in"),
        (
            "def f(trt):\n    m = {'phase_begin': 1}\n    type('L', (trt.IProgressMonitor,), m)",
            "phase_begin is not in",
        ),
        (
            "class IExecutionContext(Protocol):\n    def execute_async_v2(self): ...",
            "execute_async_v2 is not in",
        ),
        ("class ICalibrator(Protocol):\n    x: int", "ICalibrator is not in"),
        ("class TensorRT(Protocol):\n    IInt8Calibrator: Any", "IInt8Calibrator is not in tensorrt-11.4"),
    ],
)
def test_what_would_be_found(source, problem):
    assert any(problem in found for found in missing(names_used(source))), missing(names_used(source))


def test_what_only_one_flavour_has_is_asked_of_that_one():
    source = "def f(trt: TensorRTForRTX):\n    return trt.ComputeCapability.SM86"
    assert missing(names_used(source)) == []
    assert missing(names_used(source.replace("SM86", "SM87"))) != []
    assert missing(names_used(source.replace("ForRTX", ""))) != []
