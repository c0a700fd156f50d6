"""``--check``: what would run, and what would not."""

import os
import re
import socket
import subprocess
import sys
import threading
import time

import msgspec
import pytest
from edgead_runtime import Detector, EdgeadError, Encoder, Picture
from edgead_runtime.errors import ConfigError, SourceLostError
from edgead_runtime.images import encode_png
from edgead_runtime.service import checking_camera
from edgead_runtime.service.checking import check_loop
from edgead_runtime.service.config import parse_config
from edgead_runtime.streaming import LineLearning
from edgead_runtime.streaming.sources import rtsp


def _whole(folder):
    """Every file in a folder, with its bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


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
        said, before = [], _whole(tmp_path)
        try:
            check_loop(config, tmp_path, said.append)
        except ConfigError as error:
            return said, error
        finally:
            assert _whole(tmp_path) == before, "a check changes nothing"
        return said, None

    return run


def test_what_runs_is_said(check, tmp_path):
    threads = threading.active_count()
    said, error = check(
        rest='[[sink]]\ntype = "jsonl"\npath = "e.jsonl"\n[[sink]]\ntype = "clips"\nfolder = "c"\n'
        "[metrics]\nport = 0\n[view]\nport = 0\n[learning]\n"
    )
    assert error is None
    assert said[0].startswith("left: part.edgead: anomalydino-informed, 4 good pictures, threshold ")
    assert said[0].endswith("onnxruntime/cpu")
    assert said[1].startswith("left: drift: watching brightness, sharpness, score, patch_distance")
    assert said[2] == f"left: {tmp_path / 'in'} opens and gives pictures of 160 x 160"
    assert said[3].startswith("left: one of them is good with a score of ")
    assert said[4].startswith("sink: jsonlines")
    assert said[5] == f"sink: clips {tmp_path / 'c'}"
    assert said[6] == f"outbox: {tmp_path / 'edgead-outbox.db'}"
    assert "/metrics" in said[7]
    assert said[8].startswith("live view: http://127.0.0.1")
    assert said[9:] == [f"learning: {tmp_path / 'edgead-learning'}"]
    assert threading.active_count() <= threads


def test_a_threshold_of_the_file_is_the_one_that_is_told(check):
    said, _ = check("threshold = 9.0")
    assert ", threshold 9.0000, on" in said[0]


def _taken():
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening, listening.getsockname()[1]


def test_a_port_that_is_taken_is_found(check):
    listening, port = _taken()
    with listening:
        said, error = check(rest=f"[metrics]\nport = {port}\n[view]\nport = {port}\n")
    assert "2 things" in error.problem
    problems = [line for line in said if "PROBLEM" in line]
    assert f"the page of numbers and health cannot listen on 127.0.0.1:{port}" in problems[0]
    assert f"the live view cannot listen on 127.0.0.1:{port}" in problems[1]


def test_two_that_want_the_same_port_are_found(check):
    listening, port = _taken()
    listening.close()
    said, error = check(rest=f"[metrics]\nport = {port}\n[view]\nport = {port}\n")
    assert "1 thing would" in error.problem
    assert any(line.startswith("[view]: PROBLEM: the live view cannot listen") for line in said)


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ('[view]\nport = 0\nhost = "0.0.0.0"\ntoken = "short"', r"\[view\]: PROBLEM: the token of the live"),
        ('[view]\nport = 0\nhost = "no.such.host.invalid"', "cannot listen on no.such.host.invalid"),
        ('[learning]\nfolder = "part.edgead/x"', r"\[learning\]: PROBLEM: .*part.edgead is no folder"),
        ('[[sink]]\ntype = "jsonl"\npath = "in"', "sink: jsonlines .*in: PROBLEM: .*in is a folder"),
        ('[[sink]]\ntype = "clips"\nfolder = "part.edgead"', "sink: clips .*PROBLEM: .* is no folder"),
        ('[[sink]]\ntype = "csv"\npath = "part.edgead/x.csv"', "PROBLEM: .*part.edgead is no folder"),
        ('[[sink]]\ntype = "csv"\npath = "o"\n[outbox]\npath = "o"', r"PROBLEM: sink 1 \(csv\) writes to"),
        ('[[sink]]\ntype = "lines"\n[outbox]\npath = "in"', "outbox: PROBLEM: .*in is a folder"),
        (
            '[[sink]]\ntype = "webhook"\nurl = "x"',
            r"PROBLEM: sink 1 \(webhook\): 'x' is no web address",
        ),
        ('[[sink]]\ntype = "lines"\n[[sink]]\ntype = "lines"', r"sink 2 \(lines\): there is another one"),
        (
            '[[sink]]\ntype = "mqtt"\nhost = "127.0.0.1"\nport = 1\ncommands = true',
            r"sinks: PROBLEM: an mqtt sink takes commands, and there is no \[learning\]",
        ),
        (
            '[camera.trigger]\nhost = "127.0.0.1"\nport = 1\ntopic = "plc/part"',
            "left: PROBLEM: the broker 127.0.0.1:1 cannot be reached",
        ),
        (
            '[camera.trigger]\nhost = "127.0.0.1"\ntopic = "plc/#/part"',
            "left: PROBLEM: 'plc/#/part' is no MQTT topic to listen on",
        ),
        ('[engine]\nname = "tensorflow"', "left: PROBLEM: .*tensorflow"),
    ],
)
def test_all_that_a_start_would_refuse_has_a_line(check, rest, problem):
    if "mqtt" in rest or "trigger" in rest:
        pytest.importorskip("paho.mqtt", reason="paho-mqtt (the extra mqtt) is not installed")
    said, error = check(rest=rest)
    assert error is not None
    assert any(re.search(problem, line) for line in said), said


def test_a_broker_that_is_away_is_no_problem_and_said(check):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt (the extra mqtt) is not installed")
    said, error = check(rest='[[sink]]\ntype = "mqtt"\nhost = "127.0.0.1"\nport = 1')
    assert error is None
    assert any("now the broker 127.0.0.1:1 cannot be reached" in line for line in said)


def test_lessons_are_counted_and_a_damaged_journal_is_found(check, tmp_path, mini_bundle, part):
    folder = tmp_path / "l"
    with (
        Encoder.load(mini_bundle, threads=1) as encoder,
        Detector.load(tmp_path / "part.edgead", encoder=encoder) as detector,
        LineLearning({"left": detector}, folder) as learning,
    ):
        lessons = [learning.add_good("left", Picture("p", part(number)), "Ada") for number in (20, 21, 22)]
        learning.undo("left", lessons[0].id, "Ada")
        in_use = check(rest='[learning]\nfolder = "l"')
    assert in_use[1] is not None
    assert any("lessons.jsonl is in use by another process" in line for line in in_use[0])
    (folder / "left" / "test" / "good" / f"{lessons[1].id}.png").unlink()
    said, error = check(rest='[learning]\nfolder = "l"')
    assert error is None
    assert said[-1] == (
        "left: 2 lessons would be learned again; the pictures of 1 are gone, and these cannot be"
    )
    journal = folder / "left" / "lessons.jsonl"
    journal.write_text("{}\n" + journal.read_text())
    said, error = check(rest='[learning]\nfolder = "l"')
    assert error is not None
    assert "lessons.jsonl: line 1 is damaged" in said[-1]


_HOLDS = """
import sys
from pathlib import Path
from edgead_runtime.streaming.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]), ["lines"])
print("open", flush=True)
sys.stdin.read()
outbox.close()
"""


@pytest.mark.skipif(os.name == "nt", reason="files are locked otherwise there")
def test_an_outbox_that_another_process_has_or_a_newer_one_wrote(check, tmp_path):
    path, rest = tmp_path / "o.db", '[[sink]]\ntype = "lines"\n[outbox]\npath = "o.db"'
    holding = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert holding.stdout.readline() == "open\n"
    said, error = check(rest=rest)
    assert error is not None
    assert any(line.startswith("outbox: PROBLEM: the outbox") and "in use" in line for line in said)
    holding.communicate("")
    said, error = check(rest=rest)
    assert error is None, said
    data = path.read_bytes()
    path.write_bytes(data[:60] + (99).to_bytes(4, "big") + data[64:])
    said, error = check(rest=rest)
    assert any("was written by a newer edgead" in line for line in said)
    path.write_bytes(b"no database at all")
    said, error = check(rest=rest)
    assert error is None
    assert any(line.endswith("it is damaged, and would be set aside") for line in said)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(check, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o555)
    said, error = check(rest='[learning]\nfolder = "shut"')
    assert error is not None
    assert "shut cannot be written to" in said[-1]


@pytest.mark.parametrize(
    ("camera", "problem"),
    [
        ('detector = "none.edgead"', "detector .*none.edgead does not exist"),
        ('source = "nowhere"', "there is no source nowhere"),
        ('source = "watch:nowhere"', "nowhere"),
        ('source = "0"', "camera 0"),
        (
            'source = "rtsp://c/1"\ndecoder = "opencv"\ntransport = "udp"',
            "over udp, which OpenCV does not do",
        ),
        ("crop = [0, 0, 80, 80]", "the frame is 80 x 80 pixels, the good pictures are 160 x 160"),
    ],
)
def test_what_does_not_run_is_said_and_the_rest_is_tried(check, camera, problem):
    said, error = check(camera)
    assert error is not None
    found = [line for line in said if "PROBLEM" in line]
    assert found
    assert any(re.search(problem, line) for line in found), found


def test_udp_is_refused_where_pyav_is_not_installed(check, monkeypatch):
    monkeypatch.setattr(rtsp, "find_spec", lambda name: None)
    said, error = check('source = "rtsp://c/1"\ntransport = "udp"')
    assert error is not None
    assert [line for line in said if "PROBLEM" in line and 'pip install "edgead-runtime[rtsp]"' in line]


def test_both_of_two_problems(check):
    said, error = check('detector = "none.edgead"\nsource = "nowhere"')
    assert "2 things" in error.problem
    assert len([line for line in said if "PROBLEM" in line]) == 2


def test_an_empty_watched_folder_is_fine(check, tmp_path, monkeypatch):
    monkeypatch.setattr(checking_camera, "_LONGEST_WAIT_S", 0.7)
    (tmp_path / "empty").mkdir()
    said, error = check('source = "watch:empty"')
    assert error is None
    assert said[-1].endswith("opens; it has given no picture so far")


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


def _driver_that_talks():
    raise OSError("cannot open rtsp://user:geheim@camera/1")


@pytest.mark.parametrize(
    ("does", "problem"),
    [
        (lambda: time.sleep(2), "has not opened within"),
        (_away, "fake is away"),
        (_driver, "raised OSError: driver"),
        (_driver_that_talks, r"cannot open rtsp://user:\*\*\*@camera/1"),
    ],
)
def test_a_source_that_hangs_or_fails(does, problem):
    with pytest.raises(EdgeadError, match=problem):
        checking_camera.first_frame(_Source(does), 0.3)


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
