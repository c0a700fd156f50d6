"""``--check``: what would run, and what would not."""

import re
import time

import msgspec
import pytest
from edgead_runtime import Detector, EdgeadError, Encoder
from edgead_runtime.errors import ConfigError, SourceLostError
from edgead_runtime.images import encode_png
from edgead_runtime.service import checking
from edgead_runtime.service.checking import check_loop
from edgead_runtime.service.config import parse_config


@pytest.fixture
def check(tmp_path, mini_bundle, good_frames, quick):
    """Check a configuration beside a detector and two pictures; gives what was said."""
    with Encoder.load(mini_bundle, threads=1) as encoder:
        Detector.enroll(encoder, good_frames[:4], recipe=quick).save(tmp_path / "part.edgead")
    (tmp_path / "in").mkdir()
    for number in range(2):
        (tmp_path / "in" / f"{number}.png").write_bytes(encode_png(good_frames[number]))

    def run(camera="", rest=""):
        fields = {
            "name": '"left"',
            "detector": '"part.edgead"',
            "encoder": f'"{mini_bundle}"',
            "source": '"in"',
        }
        fields.update(line.split(" = ") for line in camera.splitlines())
        table = "".join(f"{name} = {value}\n" for name, value in fields.items())
        config = parse_config(f"[[camera]]\n{table}\n{rest}".encode(), "loop.toml")
        said = []
        try:
            check_loop(config, tmp_path, said.append)
        except ConfigError as error:
            return said, error
        return said, None

    return run


def test_what_runs_is_said(check, tmp_path):
    said, error = check(rest='[[sink]]\ntype = "jsonl"\npath = "e.jsonl"\n[metrics]\n')
    assert error is None
    assert said[0].startswith("left: part.edgead: anomalydino-informed, 4 good pictures, threshold ")
    assert said[0].endswith("onnxruntime/cpu")
    assert said[1] == f"left: {tmp_path / 'in'} opens and gives pictures of 160 x 160"
    assert said[2].startswith("left: one of them is good with a score of ")
    assert said[3].startswith("sink: jsonlines")
    assert "/metrics" in said[5]
    assert not (tmp_path / "e.jsonl").exists()
    assert not (tmp_path / "edgead-outbox.db").exists()


@pytest.mark.parametrize(
    ("camera", "problem"),
    [
        ('detector = "none.edgead"', "detector .*none.edgead does not exist"),
        ('source = "nowhere"', "there is no source nowhere"),
        ('source = "watch:nowhere"', "nowhere"),
        ('source = "0"', "camera 0"),
        ("crop = [0, 0, 80, 80]", "the frame is 80 x 80 pixels, the good pictures are 160 x 160"),
    ],
)
def test_what_does_not_run_is_said_and_the_rest_is_tried(check, camera, problem):
    said, error = check(camera)
    assert error is not None
    found = [line for line in said if "PROBLEM" in line]
    assert found
    assert any(re.search(problem, line) for line in found), found


def test_both_of_two_problems(check):
    said, error = check('detector = "none.edgead"\nsource = "nowhere"')
    assert "2 things" in error.problem
    assert len([line for line in said if "PROBLEM" in line]) == 2


def test_an_empty_watched_folder_is_fine(check, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "_LONGEST_WAIT_S", 0.7)
    (tmp_path / "empty").mkdir()
    said, error = check('source = "watch:empty"')
    assert error is None
    assert said[1].endswith("opens; it has given no picture so far")


class _Source:
    label, live, paces_itself = "fake", True, False

    def __init__(self, does):
        self.does = does

    def open(self):
        return self.does()


def _away():
    raise SourceLostError("fake is away", "Wait.")


def _driver():
    raise OSError("driver")


@pytest.mark.parametrize(
    ("does", "problem"),
    [
        (lambda: time.sleep(5), "has not opened within"),
        (_away, "fake is away"),
        (_driver, "raised OSError: driver"),
    ],
)
def test_a_source_that_hangs_or_fails(does, problem):
    with pytest.raises(EdgeadError, match=problem):
        checking._first_frame(_Source(does), 0.3)


def test_no_camera(tmp_path):
    with pytest.raises(ConfigError, match="there is no camera"):
        check_loop(parse_config(b"", "loop.toml"), tmp_path, print)


def test_engine_options_that_a_tuned_detector_would_pass_over_are_refused(check, tmp_path, monkeypatch):
    from edgead_runtime.manifest import TierRecord, Tuning
    from edgead_runtime.service import build
    from edgead_runtime.tuning import this_machine

    read = build.read_bundle

    def tuned(path):
        bundle = read(path)
        tuning = Tuning(
            budget_ms=50.0,
            created="2026-01-01T00:00:00+00:00",
            machine=this_machine(),
            calibration=bundle.manifest.calibration,
            tiers=[TierRecord(name="full", options={"engine": "onnxruntime", "threads": 2})],
            chosen=0,
        )
        manifest = msgspec.structs.replace(bundle.manifest, tuning=tuning)
        return type(bundle)(manifest, bundle.arrays, bundle.pictures, bundle.encoder)

    monkeypatch.setattr(build, "read_bundle", tuned)
    said, error = check("budget_ms = 50", rest="[engine]\nthreads = 1")
    assert error is not None
    assert any("was tuned, and its settings have a threads of their own (2)" in line for line in said)
    said, error = check("", rest="[engine]\nthreads = 1")
    assert error is None
