"""What the live view's server answers, to a browser that means well."""

import json
import logging
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.resources import files

import numpy as np
import pytest
from edgead_runtime.errors import ConfigError
from edgead_runtime.streaming import Message, Stream
from edgead_runtime.streaming.thresholds import DetectorThresholds
from edgead_runtime.streaming.view import LiveView
from stream_fakes import FakeDetector, frame_scoring, wait_until
from view_helpers import DirectTeacher, Looking, Stand, running
from websockets.exceptions import ConnectionClosed

_PATHS = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def get(view, path="/", headers=None):
    request = urllib.request.Request(f"http://127.0.0.1:{view.port}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def post(view, path, body, headers=None):
    """What is said; of this run unless it says of which."""
    if isinstance(body, dict):
        body = {"run": view.run, **body}
    request = urllib.request.Request(
        f"http://127.0.0.1:{view.port}{path}",
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        {"Content-Type": "application/json", **(headers or {})},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def bench(detector, defective, good_frames):
    """A defective part under a camera with a real detector, a teacher and thresholds."""
    stand = Stand(defective.frame)
    camera = stand.camera("left", detector, budget_ms=5000)
    stand.detector, stand.teacher = detector, DirectTeacher({"left": detector})
    stand.good = good_frames[5]
    with running([camera], teacher=stand.teacher, thresholds=DetectorThresholds([camera])) as (view, stream):
        stand.view, stand.stream = view, stream
        wait_until(lambda: stream.stats()["left"].inspected > 0)
        yield stand


# -- the page ------------------------------------------------------------------------------------------


def test_the_page_and_all_that_it_names_are_there_and_from_nowhere_else(bench):
    code, page, headers = get(bench.view)
    assert code == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert headers["X-Frame-Options"] == "DENY"
    names = set(re.findall(r'(?:href|src)="([^":]+)"', page.decode()))
    assert names == {"view.css", "view.js"}
    for script in ("view.js", "lists.js"):
        names |= set(re.findall(r'from "\./([^"]+)"', get(bench.view, f"/{script}")[1].decode()))
    static = files("edgead_runtime.streaming.view") / "static"
    assert names | {"view.html"} == {path.name for path in static.iterdir()}
    for name in names:
        code, content, headers = get(bench.view, f"/{name}")
        assert code == 200
        assert headers["Content-Type"].startswith("text/css" if name.endswith("css") else "text/javascript")
        assert not re.search(rb"https?://", content), f"{name} asks somebody else"


def test_nothing_inline_so_that_the_policy_can_forbid_it():
    page = (files("edgead_runtime.streaming.view") / "static" / "view.html").read_text("utf-8")
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", page)


# -- pictures ------------------------------------------------------------------------------------------


def test_a_picture_comes_with_its_map_and_boxes(bench, defective):
    with Looking(bench.view) as looking:
        about, image, heat = looking.picture()
    assert about["anomaly"]
    assert about["score"] > about["threshold"]
    assert np.abs(image.astype(int) - defective.frame).mean() < 6
    row, column = np.mean(np.nonzero(heat == heat.max()), axis=1)
    assert abs(column / heat.shape[1] * 160 - defective.x - defective.width / 2) < 25
    assert abs(row / heat.shape[0] * 160 - defective.y - defective.height / 2) < 25
    x, y, width, height = about["boxes"][0]
    assert x < defective.x + defective.width
    assert y < defective.y + defective.height
    assert x + width > defective.x
    assert y + height > defective.y


def test_pictures_are_made_only_while_somebody_asks_and_only_so_often():
    stand = Stand(frame_scoring(0.1), period_s=0.005)
    with running([stand.camera("a", FakeDetector())], max_fps=10) as (view, stream):
        wait_until(lambda: stream.stats()["a"].inspected > 40)
        assert view.pictures_made == 0
        with Looking(view) as looking:
            looking.state()
            time.sleep(0.3)
            assert view.pictures_made == 0, "it has not asked for one"
            begun, before = time.monotonic(), view.pictures_made
            numbers = [looking.picture()[0]["sequence"] for _ in range(6)]
            assert time.monotonic() - begun > 4 * 0.1
            assert view.pictures_made - before <= 7
        assert numbers == sorted(set(numbers))
        assert numbers[-1] - numbers[0] > 20, "the newest, not each one"


def test_one_that_does_not_read_delays_nobody():
    stand = Stand(np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8), period_s=0.005)
    stand.frame[0, 0] = 10
    with (
        running([stand.camera("a", FakeDetector())], max_fps=100) as (view, stream),
        Looking(view) as asleep,
        Looking(view) as awake,
    ):
        for _ in range(200):
            asleep.say("ready")
        before = stream.stats()["a"].inspected
        newest = [awake.picture()[0]["sequence"] for _ in range(10)][-1]
        assert newest >= before
        wait_until(lambda: stream.stats()["a"].inspected > before + 50)
        assert stream.stats()["a"].dropped < stream.stats()["a"].inspected


def test_two_who_look_share_a_picture():
    stand = Stand(frame_scoring(0.1))
    with running([stand.camera("a", FakeDetector())]) as (view, stream):
        wait_until(lambda: stream.stats()["a"].inspected > 0)
        stand.over = True
        wait_until(lambda: stand.given == stream.stats()["a"].captured)
        time.sleep(0.1)
        with Looking(view) as one, Looking(view) as other:
            assert one.picture()[0]["sequence"] == other.picture()[0]["sequence"]
        assert view.pictures_made == 1


def test_a_frame_that_was_not_inspected_says_why(bench):
    bench.frame = np.zeros((50, 70, 3), np.uint8)
    with Looking(bench.view) as looking:
        about, image, _ = looking.picture()
        while about["inspected"]:
            about, image, _ = looking.picture()
    assert "50" in about["failure"]
    assert image.shape == (50, 70, 3)
    code, said = post(bench.view, "/api/good", {"camera": "left", "sequence": about["sequence"]})
    assert (code, said["problem"]) == (410, "that picture is no longer kept")


# -- the state -----------------------------------------------------------------------------------------


def test_the_state_tells_scores_latency_events_and_the_threshold(bench, detector):
    with Looking(bench.view) as looking:
        state = looking.state(lambda first: first["points"])
        assert state["afresh"]
        more = looking.state(lambda later: later["points"])
        told = next(each["events"] for each in looking.states if each.get("events"))
    assert state["source"] == "stand"
    assert state["budget_ms"] == 5000
    assert state["stats"]["latency_ms"]["p50"] > 0
    assert state["threshold"] == {
        "current": detector.threshold, "at_start": detector.threshold, "calibrated": True
    }  # fmt: skip
    assert state["teaches"]
    assert all(point[1] > detector.threshold and point[3] & 1 for point in state["points"])
    assert not more["afresh"]
    assert more["points"][0][0] > state["points"][-1][0]
    (event,) = told
    assert event["state"] == "opened"
    code, jpeg, headers = get(bench.view, f"/thumbnail?camera=left&event={event['id']}")
    assert (code, headers["Content-Type"], jpeg[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert get(bench.view, "/thumbnail?camera=left&event=none")[0] == 404
    assert get(bench.view, "/thumbnail?camera=none")[0] == 404


def test_cameras_are_chosen_and_their_troubles_told():
    left, right = Stand(frame_scoring(0.1)), Stand(frame_scoring(0.9))
    detector = FakeDetector()
    with (
        running([left.camera("left", detector), right.camera("right", detector)]) as (view, _),
        Looking(view) as looking,
    ):
        state = looking.state()
        assert state["camera"] == "left"
        assert [camera["name"] for camera in state["cameras"]] == ["left", "right"]
        looking.say("camera", camera="nowhere")
        looking.say("camera", camera="right")
        assert looking.state(lambda state: state["camera"] == "right")["afresh"]
        assert looking.picture()[0]["camera"] == "right"
        right.frame = np.zeros((4, 4), np.uint8)  # no frame
        told = looking.state(lambda state: state["cameras"][1]["troubles"])
        assert "not inspected" in told["cameras"][1]["troubles"]


def test_another_alert_is_shown_while_it_is_open():
    stand = Stand(frame_scoring(0.1))
    with running([stand.camera("a", FakeDetector())]) as (view, _), Looking(view) as looking:
        for state, text in (("opened", "dark"), ("updated", "darker"), ("closed", "")):
            view.on_message(Message("drift", "a", "drift-1", state, "now", {"text": text}))
            wanted = [["drift", text]] if text else []
            assert looking.state(lambda told, wanted=wanted: told["alerts"] == wanted)


def test_after_more_points_than_are_kept_the_newest_are_there():
    from edgead_runtime.streaming.view.board import POINTS, Board
    from stream_fakes import result_of

    board = Board()
    for number in range(POINTS + 10):
        board.take_in(_stream_result(number, result_of(0.25)), None)
    count, points = board.points_after(0)
    assert count == POINTS + 10
    assert len(points) == POINTS
    assert points[-1][:2] == [POINTS + 9, 0.25]
    assert board.points_after(count) == (count, [])
    assert len(board.points_after(count - 3)[1]) == 3


def _stream_result(number, result, image=None, events=()):
    from datetime import datetime, timezone

    from edgead_runtime.streaming import CameraFrame, StreamResult

    image = frame_scoring(0.1) if image is None else image
    frame = CameraFrame(image, number, float(number), datetime.now(timezone.utc))
    return StreamResult("a", frame, result, None, tuple(events), 5.0, late=False, dropped=0)


def test_shown_frames_are_kept_in_bounded_memory_and_held_ones_stay():
    from edgead_runtime.streaming.view.kept import FrameKey, KeptFrames

    image = np.zeros((100, 100, 3), np.uint8)
    kept = KeptFrames(max_bytes=5 * image.nbytes)
    keys = [FrameKey("run", "a", number) for number in range(50)]
    for key in keys[:3]:
        kept.keep(key, image, f"{key.sequence}")
    assert kept.hold("me", keys[1])
    assert not kept.hold("you", keys[7])
    for key in keys[3:]:
        kept.keep(key, image, f"{key.sequence}")
    assert len(kept) == 6
    assert kept.picture(keys[1]).name == "1"
    assert kept.picture(keys[44]) is None
    kept.let_go("me")
    assert kept.picture(keys[1]) is None
    assert kept.picture(keys[49]).frame is image
    assert kept.picture(keys[49]._replace(run="another")) is None


# -- learning ------------------------------------------------------------------------------------------


def test_good_means_the_very_frame_that_is_held_and_can_be_taken_back(bench):
    with Looking(bench.view) as looking:
        about, _, _ = looking.picture()
        looking.say("hold", run=about["run"], sequence=about["sequence"])
        assert looking.until(lambda got: isinstance(got, dict) and got["type"] == "held")["kept"]
        wanted = bench.frame
        bench.frame = bench.good
        time.sleep(0.3)
        body = {"camera": "left", "sequence": about["sequence"], "who": "Anna\n"}
        code, lesson = post(bench.view, "/api/good", body)
        assert (code, lesson["kind"], lesson["who"]) == (200, "good", "Anna (127.0.0.1)")
        assert np.array_equal(bench.teacher.pictures[0].frame, wanted)
        bench.frame = wanted
        assert not bench.detector(wanted).is_anomaly
        told = looking.state(lambda state: state.get("lessons"))
        assert told["lessons"][0]["id"] == lesson["id"]
        looking.say("release")
        assert not looking.until(lambda got: isinstance(got, tuple) and not got[0]["anomaly"])[0]["anomaly"]
        code, undone = post(bench.view, "/api/undo", {"camera": "left", "lesson": lesson["id"]})
        assert (code, undone["undoes"]) == (200, lesson["id"])
        assert bench.detector(wanted).is_anomaly


def test_the_worst_frame_of_an_event_can_be_shown_and_kept_as_a_defect(bench, defective):
    with Looking(bench.view) as looking:
        (event,) = looking.state(lambda state: state.get("events"))["events"]
        bench.frame = bench.good
        looking.say("event", event=event["id"])
        about, image, _ = looking.until(lambda got: isinstance(got, tuple))
        assert about["anomaly"]
        assert np.abs(image.astype(int) - defective.frame).mean() < 6
        code, lesson = post(bench.view, "/api/defect", {"camera": "left", "sequence": about["sequence"]})
        assert (code, lesson["kind"]) == (200, "defect")
        assert np.array_equal(bench.teacher.pictures[0].frame, defective.frame)
        looking.say("event", event="none")
        assert looking.until(lambda got: isinstance(got, dict) and got["type"] == "gone")


def test_what_the_teacher_refuses_is_said(bench):
    with Looking(bench.view) as looking:
        sequence = looking.picture()[0]["sequence"]
        looking.say("hold", run=bench.view.run, sequence=sequence)
        looking.until(lambda got: isinstance(got, dict) and got["type"] == "held")
        body = {"camera": "left", "sequence": sequence}
        assert post(bench.view, "/api/good", body)[0] == 200
        code, said = post(bench.view, "/api/good", body)
    assert code == 422
    assert said["problem"]
    assert said["remedy"]


def test_a_frame_that_is_gone_is_said(bench):
    code, said = post(bench.view, "/api/good", {"camera": "left", "sequence": 10**9})
    assert (code, said["problem"]) == (410, "that picture is no longer kept")
    assert post(bench.view, "/api/good", {"camera": "x", "sequence": 1})[0] == 422


# -- another run of the loop ---------------------------------------------------------------------------


def test_what_was_seen_before_a_restart_is_refused_whatever_its_number(bench, detector):
    """The numbers of frames begin anew: number 0 of this run is not what somebody saw as number 0."""
    with Looking(bench.view) as looking:
        about = looking.picture()[0]
    threshold = detector.threshold
    for path, body in (
        ("good", {"sequence": about["sequence"]}),
        ("defect", {"sequence": about["sequence"]}),
        ("undo", {"lesson": "l0"}),
        ("threshold", {"threshold": 99.0}),
    ):
        code, said = post(bench.view, f"/api/{path}", {"camera": "left", "run": "the one before", **body})
        assert code == 409, path
        assert said["problem"].startswith("the loop was started again")
        assert said["remedy"]
        assert post(bench.view, f"/api/{path}", json.dumps({"camera": "left", **body}).encode())[0] == 400
    assert not bench.teacher.taught
    assert detector.threshold == threshold
    with Looking(bench.view) as looking:
        looking.say("hold", run="the one before", sequence=about["sequence"])
        assert not looking.until(lambda got: isinstance(got, dict) and got["type"] == "held")["kept"]
    assert post(bench.view, "/api/good", {"camera": "left", "sequence": about["sequence"]})[0] == 200


def test_another_stream_under_the_same_view_is_another_run():
    good, bad = Stand(frame_scoring(0.1)), Stand(frame_scoring(0.9))
    detector, teacher = FakeDetector(), DirectTeacher({})
    with running([good.camera("a", detector)], teacher=teacher) as (view, stream):
        with Looking(view) as looking:
            about, before = looking.picture()[0], view.run
            looking.say("hold", run=about["run"], sequence=about["sequence"])
            looking.until(lambda got: isinstance(got, dict) and got["type"] == "held")
            view.watch(stream)
            assert view.run == before, "the same one"
            stream.stop()
            other = Stream([bad.camera("b", detector)], listeners=[view])
            view.watch(other)
            with pytest.raises(ConnectionClosed):
                looking.until(lambda got: False)
        assert about["run"] == before != view.run
        code, said = post(view, "/api/good", {**_of(about), "run": before})
        assert (code, said["problem"][:26]) == (409, "the loop was started again")
        results = iter(other)
        next(results)
        with Looking(view) as looking:
            state = looking.state(lambda told: told["points"])
            assert ([each["name"] for each in state["cameras"]], state["run"]) == (["b"], view.run)
            assert looking.picture()[0]["run"] == view.run
        other.close()


def _of(about):
    return {name: about[name] for name in ("camera", "run", "sequence")}


def test_without_a_teacher_nothing_is_learned():
    stand = Stand(frame_scoring(0.1))
    with running([stand.camera("a", FakeDetector())]) as (view, _), Looking(view) as looking:
        assert not looking.state()["teaches"]
        sequence = looking.picture()[0]["sequence"]
        assert post(view, "/api/good", {"camera": "a", "sequence": sequence})[0] == 422
        assert looking.state()["threshold"] is None
        assert post(view, "/api/threshold", {"camera": "a", "threshold": 1})[0] == 422


# -- thresholds ----------------------------------------------------------------------------------------


def test_the_threshold_is_moved_reset_and_logged(bench, detector, caplog):
    caplog.set_level(logging.INFO, "edgead")
    start = detector.calibration
    code, said = post(bench.view, "/api/threshold", {"camera": "left", "threshold": 99.5, "who": "Ben"})
    assert code == 200
    assert said == {"current": 99.5, "at_start": start.threshold, "calibrated": True}
    with Looking(bench.view) as looking:
        looking.until(lambda got: (isinstance(got, tuple) and not got[0]["anomaly"]) or looking.say("ready"))
    code, said = post(bench.view, "/api/threshold", {"camera": "left", "threshold": None})
    assert (code, said["current"]) == (200, start.threshold)
    assert detector.calibration == start
    lines = [record.getMessage() for record in caplog.records if "threshold" in record.getMessage()]
    assert any("-> 99.5000, set by Ben (127.0.0.1)" in line for line in lines)
    assert any("reset by 127.0.0.1" in line for line in lines)


@pytest.mark.parametrize("threshold", [-1, "3", 1e999, [], True])
def test_what_is_no_threshold_is_refused(bench, detector, threshold):
    before = detector.threshold
    said = {"camera": "left", "run": bench.view.run, "threshold": threshold}
    body = json.dumps(said).replace("Infinity", "1e999").encode()
    assert post(bench.view, "/api/threshold", body)[0] in (400, 422)
    assert detector.threshold == before


# -- its life ------------------------------------------------------------------------------------------


def test_a_port_in_use_and_a_host_that_is_none_are_said():
    with (
        LiveView(port=0) as first,
        pytest.raises(ConfigError, match="cannot listen on"),
        LiveView(port=first.port),
    ):
        pass
    with pytest.raises(ConfigError, match="cannot listen on"), LiveView("no.such.host.invalid", 0):
        pass


def test_what_to_install_is_said(monkeypatch):
    monkeypatch.setattr("edgead_runtime.streaming.view.live.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"edgead-runtime\[view\]"):
        LiveView()


def test_a_service_without_a_view_needs_none_of_it():
    code = (
        "import sys, edgead_runtime.service; print({'starlette', 'uvicorn', 'websockets'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_PATHS
    )
    assert done.stdout.strip() == "set()"


def test_leaving_it_sends_browsers_away_and_frees_the_port():
    stand = Stand(frame_scoring(0.1))
    with running([stand.camera("a", FakeDetector())]) as (view, _):
        port = view.port
        looking = Looking(view)
        looking.picture()
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    with pytest.raises(ConnectionClosed) as closed:
        looking.until(lambda got: False)
    assert closed.value.rcvd.code in (1001, 1012)
    with LiveView(port=port):
        pass


def test_no_more_browsers_than_eight():
    stand = Stand(frame_scoring(0.1))
    with running([stand.camera("a", FakeDetector())]) as (view, _):
        looking = [Looking(view) for _ in range(8)]
        for each in looking:
            each.state()
        with Looking(view) as late, pytest.raises(ConnectionClosed) as closed:
            late.next()
        assert closed.value.rcvd.code == 1013
        assert "8 browsers" in closed.value.rcvd.reason
        looking[0].close()
        wait_until(lambda: _comes_in(view))
        for each in looking:
            each.close()


def _comes_in(view):
    try:
        with Looking(view) as looking:
            return looking.next() is not None
    except ConnectionClosed:
        return False
