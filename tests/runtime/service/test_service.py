"""A configured loop as a process: two cameras that share an encoder, signals, and its log."""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest
from edgead_runtime import Detector, EdgeadError, Encoder, Picture
from edgead_runtime.images import encode_png
from edgead_runtime.service.build import build_cameras
from edgead_runtime.service.config import parse_config
from edgead_runtime.service.learning import build_commands, build_learning
from edgead_runtime.service.logs import logging_to_stderr
from edgead_runtime.service.run import run_loop
from edgead_runtime.streaming import camera_lessons
from edgead_runtime.streaming.sinks import Metrics
from edgead_runtime.tiered import TieredDetector

ROOT = Path(__file__).parents[3]


@pytest.fixture
def line(tmp_path, mini_bundle, good_frames, defective, quick):
    """A folder with a detector, pictures and a configuration."""
    with Encoder.load(mini_bundle, threads=1) as encoder:
        Detector.enroll(encoder, good_frames[:4], recipe=quick).save(tmp_path / "part.edgead")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, frame in enumerate([good_frames[0], defective.frame, good_frames[1]]):
        (pictures / f"{number}.png").write_bytes(encode_png(frame))
    (tmp_path / "loop.toml").write_text(
        f"""
        [[camera]]
        name = "left"
        detector = "part.edgead"
        encoder = "{mini_bundle}"
        source = "pictures"
        [[camera]]
        name = "right"
        detector = "part.edgead"
        encoder = "{mini_bundle}"
        source = "watch:pictures"
        [[sink]]
        type = "jsonl"
        path = "events.jsonl"
        [[sink]]
        type = "pictures"
        folder = "events"
        [[sink]]
        type = "clips"
        folder = "clips"
        [metrics]
        port = 0
        [view]
        port = 0
        [engine]
        threads = 1
        """
    )
    return tmp_path


def _start(line, *options, module="edgead_runtime.service"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EDGEAD_ENGINE": "onnxruntime"}
    return subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=line,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_cameras_share_an_encoder_and_sigterm_ends_it_well(line):
    process = _start(line, "loop.toml", "--log-json")
    metrics, view, end = "", "", time.monotonic() + 30
    logged = []
    while time.monotonic() < end:
        record = json.loads(process.stderr.readline())
        logged.append(record["message"])
        if record["message"].startswith("numbers at"):
            metrics = record["message"].split()[-1]
        if record["message"].startswith("live view at"):
            view = record["message"].split()[-1]
        if "right: event" in record["message"] and "closed" in record["message"]:
            break
    with urllib.request.urlopen(metrics, timeout=5) as answer:
        assert 'edgead_frames_inspected_total{camera="left"} 3' in answer.read().decode()
    with urllib.request.urlopen(view, timeout=5) as answer:
        assert "edgead live" in answer.read().decode()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out == ""
    written = [json.loads(text) for text in (line / "events.jsonl").read_text().splitlines()]
    by_camera = {name: [e["state"] for e in written if e["camera"] == name] for name in ("left", "right")}
    assert by_camera == {"left": ["opened", "closed"], "right": ["opened", "closed"]}
    assert {path.parent.parent.name for path in (line / "events").rglob("*.picture.jpg")} == {"left", "right"}
    assert list((line / "clips").rglob("*.avi"))
    assert "right: inspecting watch:" + str(line / "pictures") in logged


def test_detectors_of_one_encoder_get_the_same_object(line):
    config = parse_config((line / "loop.toml").read_bytes(), "loop.toml")
    with ExitStack() as stack:
        left, right = build_cameras(config, line, stack)
        assert left.detector.encoder is right.detector.encoder


def test_what_cannot_begin_says_why_and_ends_with_2(line):
    (line / "loop.toml").write_text('[[camera]]\nname = "a"\ndetector = "none.edgead"\nsource = "pictures"\n')
    process, other = _start(line, "loop.toml"), _start(line, "loop.toml", "--log-json")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.startswith("edgead: detector ")
    assert err.count("\n") == 1
    _, err = other.communicate(timeout=20)
    assert other.returncode == 2
    (record,) = map(json.loads, err.splitlines())
    assert record["level"] == "error"
    assert record["message"].startswith("detector ")


def test_a_name_with_a_line_break_makes_no_line_of_its_own():
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), logging_to_stderr(as_json=False, level="info"):
        logging.getLogger("edgead.run").info("ü\n2026-01-01 00:00:00 INFO    left: all is well \x1b[2J")
    (shown,) = stderr.getvalue().splitlines()
    assert r"ü\x0a2026-01-01" in shown
    assert "\x1b" not in shown


def test_whatever_is_logged_is_a_line_of_json():
    def fails():
        raise RuntimeError("no thread of ours")

    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], []  # pytest's own
    stderr = io.StringIO()
    hook, shown = threading.excepthook, warnings.showwarning
    try:
        with contextlib.redirect_stderr(stderr), logging_to_stderr(as_json=True, level="info"):
            logging.getLogger("edgead.run").info("of ours, ü")
            logging.getLogger("some.library").warning("of a library")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            thread = threading.Thread(target=fails, name="odd")
            thread.start()
            thread.join()
    finally:
        root.handlers[:] = before
    assert (threading.excepthook, warnings.showwarning) == (hook, shown)
    records = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert [record["message"] for record in records[:2]] == ["of ours, ü", "of a library"]
    assert "old" in records[2]["message"]
    assert records[3]["message"] == "the thread odd ended: no thread of ours"
    assert "RuntimeError" in records[3]["exception"]


def test_a_lost_camera_writes_nothing_that_is_no_json(line):
    """In a process of its own: FFmpeg takes its level once."""
    (line / "loop.toml").write_text(
        '[[camera]]\nname = "a"\ndetector = "part.edgead"\nsource = "rtsp://127.0.0.1:9/x"\n'
        'decoder = "opencv"\nbackoff_s = [0.05, 0.1]\ngive_up_s = 0.5\n'
    )
    _, err = _start(line, "loop.toml", "--log-json").communicate(timeout=60)
    said = [json.loads(text)["message"] for text in err.splitlines()]
    assert any("a: lost" in message for message in said)
    assert "cannot be opened, for" in said[-1]


def test_no_camera_is_said(tmp_path):
    with ExitStack() as stack, pytest.raises(EdgeadError, match="there is no camera"):
        build_cameras(parse_config(b"", "loop.toml"), tmp_path, stack)


def test_a_budget_is_given_to_the_detector(line):
    config = parse_config(
        (line / "loop.toml").read_bytes().replace(b'name = "left"', b'name = "left"\nbudget_ms = 5000'),
        "loop.toml",
    )
    with ExitStack() as stack:
        left, right = build_cameras(config, line, stack)
        assert isinstance(left.detector, TieredDetector)
        assert left.detector.budget_ms == left.budget_ms == 5000
        assert not isinstance(right.detector, TieredDetector)


def test_what_a_budget_leaves_out_is_said_at_the_start(line, caplog):
    text = (line / "loop.toml").read_text().replace("watch:pictures", "pictures")
    config = parse_config(
        text.replace('name = "left"', 'name = "left"\nbudget_ms = 5000').encode(), "loop.toml"
    )
    with caplog.at_level(logging.WARNING, "edgead.run"):
        run_loop(config, line)
    (note,) = [record.message for record in caplog.records if "tuned" in record.message]
    assert note.startswith("left: It was not tuned")


def test_what_was_taught_holds_for_the_next_run(line, defective):
    text = (line / "loop.toml").read_text().replace("watch:pictures", "pictures")
    without = parse_config(text.encode(), "loop.toml")
    config = parse_config(f'{text}\n[learning]\nfolder = "learned"\n'.encode(), "loop.toml")
    assert run_loop(without, line)["left"].anomalies == 1
    assert not (line / "learned").exists()
    before = (line / "part.edgead").read_bytes()
    with ExitStack() as stack:
        cameras = build_cameras(config, line, stack)
        teacher = stack.enter_context(build_learning(config, line, cameras))
        lesson = teacher.add_good("left", Picture("1.png", defective.frame), "Ada")
    stats = run_loop(config, line)
    assert (stats["left"].anomalies, stats["right"].anomalies) == (0, 1)
    with ExitStack() as stack:
        cameras = build_cameras(config, line, stack)
        stack.enter_context(build_learning(config, line, cameras)).undo("left", lesson.id, "Ada")
    assert run_loop(config, line)["left"].anomalies == 1
    assert (line / "part.edgead").read_bytes() == before


def test_the_limits_of_learning_are_those_of_the_file(line):
    text = (line / "loop.toml").read_text()
    for learning, limit in (("", 65_536), ("bank_limit = 300", 300)):
        config = parse_config(f"{text}\n[learning]\n{learning}\n".encode(), "loop.toml")
        with ExitStack() as stack:
            cameras = build_cameras(config, line, stack)
            stack.enter_context(build_learning(config, line, cameras))
            assert [camera.detector.bank_limit for camera in cameras] == [limit] * 2
            assert (line / "edgead-learning" / "right" / "lessons.jsonl").exists()
    assert build_learning(parse_config(text.encode(), "loop.toml"), line, []) is None


def test_commands_need_somebody_who_learns(line):
    text = (line / "loop.toml").read_text() + '[[sink]]\ntype = "mqtt"\nhost = "broker"\ncommands = true\n'
    config = parse_config(text.encode(), "loop.toml")
    with pytest.raises(EdgeadError, match=r"there is no \[learning\]"):
        build_commands(config, [], None)
    with pytest.raises(EdgeadError, match=r"there is no \[learning\]"):
        run_loop(config, line)
    config = parse_config(f"{text}[learning]\n".encode(), "loop.toml")
    (commands,) = build_commands(config, [], build_learning(config, line, []))
    assert commands._broker.host == "broker"


def test_the_threshold_of_the_file_is_not_that_of_what_was_learned(line, part, mini_encoder):
    text = (line / "loop.toml").read_text().replace("watch:pictures", "pictures")
    text = text.replace('name = "left"', 'name = "left"\nthreshold = 9.0')
    config = parse_config(f'{text}\n[learning]\nfolder = "learned"\n'.encode(), "loop.toml")
    with Detector.load(line / "part.edgead", encoder=mini_encoder) as as_enrolled:
        calibrated = as_enrolled.calibration
    with ExitStack() as stack:
        teacher = stack.enter_context(build_learning(config, line, build_cameras(config, line, stack)))
        teacher.add_good("left", Picture("p", part(30)), "Ada")
    stats = run_loop(config, line)
    assert (stats["left"].anomalies, stats["right"].anomalies) == (0, 1)
    with Detector.load(line / "learned" / "left" / "learned.edgead", encoder=mini_encoder) as learned:
        assert len(learned.references) == 5
        assert learned.calibration == calibrated


@pytest.fixture
def taught(line, part):
    """A configuration that learns five lessons again when it starts."""
    text = (line / "loop.toml").read_text().replace("watch:pictures", "pictures")
    config = parse_config(f'{text}\n[learning]\nfolder = "learned"\n'.encode(), "loop.toml")
    with ExitStack() as stack:
        teacher = stack.enter_context(build_learning(config, line, build_cameras(config, line, stack)))
        for number in range(30, 35):
            teacher.add_good("left", Picture("p", part(number)), "Ada")
    return config


def _asked(port, page):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_start_that_takes_long_says_how_far_it_is_and_ends_when_it_is_told(line, taught, monkeypatch):
    learned, heard, pages = [], [], []
    written = (line / "learned" / "left" / "learned.edgead").read_bytes()
    learn = camera_lessons.CameraLessons._learn_from_file
    enter = Metrics.__enter__

    def entered(metrics):
        pages.append(enter(metrics))
        return pages[-1]

    def slowly(lessons, entry):
        learn(lessons, entry)
        learned.append(entry.id)
        if len(learned) == 2:
            heard.extend(_asked(pages[0].port, page) for page in ("/readyz", "/healthz"))
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(camera_lessons.CameraLessons, "_learn_from_file", slowly)
    monkeypatch.setattr(Metrics, "__enter__", entered)
    assert run_loop(taught, line) == {}
    assert len(learned) == 2
    words = {"starting": "left: learning lessons again, 1 of 5"}
    assert heard == [(503, words), (200, words)]
    # What knows two lessons of five is left behind nowhere, and nothing was inspected.
    assert (line / "learned" / "left" / "learned.edgead").read_bytes() == written
    assert not (line / "events.jsonl").exists()
    monkeypatch.undo()
    assert run_loop(taught, line)["left"].inspected == 3


def test_an_engine_that_hangs_ends_it_with_its_reason_and_all_is_closed(line, monkeypatch):
    text = (line / "loop.toml").read_text().replace("threads = 1", "threads = 1\ntimeout_s = 0.5")
    config = parse_config(f"{text}[learning]\n".encode(), "loop.toml")
    release, calls = threading.Event(), []
    inspects = Detector.__call__

    def hangs(detector, frame):
        calls.append(1)
        if len(calls) == 4:
            release.wait(30)
        return inspects(detector, frame)

    monkeypatch.setattr(Detector, "__call__", hangs)
    with pytest.raises(EdgeadError, match="the engine has not come back"):
        run_loop(config, line)
    release.set()
    states = [json.loads(each)["state"] for each in (line / "events.jsonl").read_text().splitlines()]
    assert states.count("opened") == states.count("closed") > 0


def test_a_second_signal_ends_it_at_once(line):
    process = _start(line, "loop.toml")
    for text in process.stderr:
        if "right: event" in text and "closed" in text:
            break
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err
