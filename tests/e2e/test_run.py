"""``edgead run`` as it is typed."""

import json
import signal
import urllib.request

import numpy as np
import pytest
from drawn_parts import draw_part
from edgead_runtime import Detector, Picture, read_picture
from edgead_runtime.streaming.learning import LineLearning

from edgead.jobs.labelled_pictures import read_labelled
from edgead.jobs.run import view_address


def test_a_detector_and_a_source_are_enough(edgead, detector, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = edgead("run", detector, "--source", pictures, "--events", "e.jsonl", "--budget", 5000)
    assert ran.code == 0, ran.err
    assert ran.out == ""
    assert f"camera: inspecting {pictures}" in ran.err
    assert "camera: 2 inspected, 1 anomalous, 0 dropped" in ran.err
    opened, closed = (json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines())
    assert (opened["state"], closed["state"]) == ("opened", "closed")
    assert closed["worst"]["name"] == "scratched.png"
    assert closed["reason"] == "source ended"


def test_ctrl_c_ends_a_watched_folder_well(start_edgead, detector, pictures, tmp_path):
    process = start_edgead(
        "run", detector, "--source", f"watch:{pictures}", "--events", tmp_path / "e.jsonl", "--log-json"
    )
    for line in process.stderr:
        if "event" in (message := json.loads(line)["message"]) and "opened" in message:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    states = [json.loads(line)["state"] for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert states == ["opened", "closed"]


def test_what_was_taught_is_learned_again(edgead, detector, pictures, tmp_path):
    before = detector.read_bytes()
    with Detector.load(detector) as taught, LineLearning({"camera": taught}, tmp_path / "l") as learning:
        learning.add_good("camera", read_picture(pictures / "scratched.png"), "Ada")
    ran = edgead("run", detector, "--source", pictures, "--learn", tmp_path / "l")
    assert ran.code == 0, ran.err
    assert "camera: learning 1 good picture again" in ran.err
    assert "camera: 2 inspected, 0 anomalous" in ran.err
    assert detector.read_bytes() == before
    compared = edgead("diff", detector, tmp_path / "l" / "camera" / "learned.edgead", "--json")
    assert compared.code == 1
    (line,) = compared.summary["references"]["added"]
    assert line["added"] == "add_good"
    damaged = tmp_path / "l" / "camera" / "lessons.jsonl"
    damaged.write_text("{}\n" + damaged.read_text())
    ran = edgead("run", detector, "--source", pictures, "--learn", tmp_path / "l")
    assert ran.code == 2
    assert "lessons.jsonl: line 1 is damaged" in ran.err.splitlines()[-1]


def test_what_was_taught_is_a_data_set(edgead, detector, encoder, tmp_path):
    with Detector.load(detector) as taught, LineLearning({"camera": taught}, tmp_path / "l") as learning:
        for number in (20, 21, 22):
            good, bad = (
                np.repeat(draw_part(number, defect=defect)[:, :, None], 3, axis=2) for defect in (False, True)
            )
            learning.add_good("camera", Picture("good", good), "Ada")
            learning.keep_defect("camera", Picture("bad", bad), "Ada")
    root = tmp_path / "l" / "camera"
    labelled = read_labelled(root)
    assert (len(labelled.references), labelled.defective) == (4, (False,) * 3 + (True,) * 3)
    ran = edgead(
        "eval", "--dataset", "folder", "--root", root, "--encoder", encoder, "--shots", 4, "--seeds", 1,
        "--set", "mask=off", "--out", tmp_path / "evaluated", "--threads", 1, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.summary["rows"][0]["metrics"]["image_auroc"]["mean"] == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["p.edgead"], "belong together"),
        ([], "there is no camera"),
        (["p.edgead", "--source", "0", "--budget", "0"], "--budget 0 is no time"),
        (["p.edgead", "--source", "0", "--hits", "3", "--window", "2"], "hits is 3 and window 2"),
        (["p.edgead", "--source", "nowhere"], "p.edgead"),
        (["--config", "none.toml"], "cannot read none.toml"),
        (["--config", "none.toml", "--budget", "33"], "--budget is of the camera that --source gives"),
        (["p.edgead", "--source", "0", "--view", "all"], "--view all is no address"),
        (["p.edgead", "--source", "0", "--view", "::1:80"], "--view ::1:80 is no address"),
        (["p.edgead", "--source", "0", "--view", "70000"], "--view 70000 is no address"),
    ],
)
def test_what_is_missing_is_said_on_one_line(edgead, arguments, problem):
    edgead("run", *arguments).assert_refused(problem)


def test_with_json_lines_the_last_one_is_json_too(edgead, detector, tmp_path):
    ran = edgead("run", detector, "--source", tmp_path / "nowhere", "--log-json")
    assert ran.code == 2
    record = json.loads(ran.err.splitlines()[-1])
    assert (record["level"], record["message"].split(" /")[0]) == ("error", "there is no source")


def test_a_source_without_a_frame_is_told_of(edgead, detector, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = edgead("run", detector, "--source", tmp_path / "empty")
    assert ran.code == 0
    assert "gave no frame" in ran.err


def test_what_is_no_source_is_said(edgead, detector, tmp_path):
    edgead("run", detector, "--source", tmp_path / "nowhere").assert_refused("there is no source", "rtsp")


def test_the_page_of_the_live_view_is_served(start_edgead, detector, pictures):
    process = start_edgead("run", detector, "--source", f"play:{pictures}", "--view", "localhost:0")
    said = next(line for line in process.stderr if "live view at" in line)
    with urllib.request.urlopen(said.split()[-1], timeout=5) as answer:
        assert "edgead live" in answer.read().decode()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


def test_where_to_listen():
    assert view_address("8675") == ("", 8675)
    assert view_address("0.0.0.0:80") == ("0.0.0.0", 80)
    assert view_address("[::1]:0") == ("::1", 0)


def test_the_example_can_be_printed_and_checked(edgead, tmp_path, monkeypatch):
    monkeypatch.setenv("CAMERA_PASSWORD", "x")
    (tmp_path / "loop.toml").write_text(edgead("run", "--print-config").out)
    checked = edgead("run", "--config", tmp_path / "loop.toml", "--check")
    assert checked.code == 2
    assert "the configuration is valid" in checked.out


def test_a_check_says_what_would_run(edgead, detector, pictures):
    checked = edgead("run", detector, "--source", pictures, "--check")
    assert checked.code == 0, checked.err
    assert "good pictures, threshold" in checked.out
    assert "opens and gives pictures of" in checked.out
    assert checked.out.rstrip().endswith("it would run")
