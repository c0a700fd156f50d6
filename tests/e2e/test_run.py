"""``edgead run`` as it is typed."""

import json
import signal

import pytest


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


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["p.edgead"], "belong together"),
        ([], "there is no camera"),
        (["p.edgead", "--source", "0", "--budget", "0"], "--budget 0 is no time"),
        (["p.edgead", "--source", "0", "--hits", "3", "--window", "2"], "hits is 3 and window 2"),
        (["p.edgead", "--source", "nowhere"], "p.edgead"),
        (["--config", "none.toml"], "cannot read none.toml"),
    ],
)
def test_what_is_missing_is_said_on_one_line(edgead, arguments, problem):
    edgead("run", *arguments).assert_refused(problem)


def test_what_is_no_source_is_said(edgead, detector, tmp_path):
    edgead("run", detector, "--source", tmp_path / "nowhere").assert_refused("there is no source", "rtsp")


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
