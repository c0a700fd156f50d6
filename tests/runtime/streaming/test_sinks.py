"""Files, folders, clips, webhook and numbers."""

import base64
import contextlib
import csv
import io
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from edgead_runtime import stream
from edgead_runtime.errors import ConfigError, SinkError, SinkRefusedError
from edgead_runtime.images import read_picture
from edgead_runtime.streaming import Delivery
from edgead_runtime.streaming.sinks import (
    ClipRecorder,
    Csv,
    JsonLines,
    Lines,
    Metrics,
    PictureFolder,
    Webhook,
)
from edgead_runtime.streaming.sinks import clips as clips_module
from edgead_runtime.streaming.sinks.text_files import CSV_COLUMNS
from edgead_runtime.streaming.stored import Loss, StoredMessage
from hypothesis import example, given
from hypothesis import strategies as st
from stream_fakes import FakeCamera, FakeDetector, frame_scoring, wait_until


def event(key="e1", state="closed", attachments=None, **body):
    body = {"score": 0.9, "opened_at": "2026-01-01T23:59:59.000Z", **body}
    return StoredMessage("event", "left", key, state, "2026-01-02T00:00:01.000Z", body, attachments or {})


# -- text files ----------------------------------------------------------------------------------------


def test_json_lines_are_whole_and_unicode(tmp_path):
    with JsonLines(tmp_path / "new" / "e.jsonl") as sink:
        sink.send(event(reason="gültig\nund neu"))
    (line,) = (tmp_path / "new" / "e.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["reason"] == "gültig\nund neu"
    assert "gültig" in line


def test_half_a_line_of_a_power_cut_spoils_only_itself(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'{"whole": 1}\n{"half": ')
    with JsonLines(path) as sink:
        sink.send(event())
    lines = path.read_text().splitlines()
    assert lines[1] == '{"half": '
    assert json.loads(lines[2])["id"] == "e1"


def test_files_rotate_and_the_oldest_goes(tmp_path):
    with JsonLines(tmp_path / "e.jsonl", max_mb=0.001, keep=2) as sink:
        for number in range(40):
            sink.send(event(f"e{number}"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.jsonl", "e.jsonl.1", "e.jsonl.2"]
    kept = [
        json.loads(line)["id"]
        for name in ("e.jsonl.2", "e.jsonl.1", "e.jsonl")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert kept == [f"e{number}" for number in range(40 - len(kept), 40)]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody take an open file away")
@pytest.mark.parametrize("take_away", [Path.unlink, lambda path: path.rename(f"{path}-old")])
def test_a_file_that_somebody_took_away_is_begun_anew(tmp_path, take_away):
    path = tmp_path / "e.csv"
    with Csv(path) as sink:
        sink.send(event("e1"))
        take_away(path)
        sink.send(event("e2"))
        sink.send(event("e3"))
    assert [row["id"] for row in csv.DictReader(io.StringIO(path.read_text()))] == ["e2", "e3"]


def test_csv_has_one_header_a_file_and_no_formulas(tmp_path):
    with Csv(tmp_path / "e.csv", max_mb=0.001, keep=9) as sink:
        for number in range(20):
            sink.send(event(f"e{number}", reason="=HYPERLINK(1)\nx"))
    for path in tmp_path.iterdir():
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        assert tuple(rows[0]) == CSV_COLUMNS
        assert all(row["reason"] == "'=HYPERLINK(1) x" and row["score"] == "0.9" for row in rows)


def test_a_lesson_and_a_loss_are_rows_that_say_something(tmp_path):
    lesson = {
        "lesson": "good",
        "who": "Ada",
        "text": "taught as good by Ada",
        "picture": "left/test/good/1.png",
    }
    with Csv(tmp_path / "e.csv") as sink:
        sink.send(StoredMessage("learned", "left", "1", "closed", "2026-01-01T00:00:00.000Z", lesson))
        loss = Loss(messages=3, pictures=40)
        sink.send(StoredMessage("loss", "", "outbox", "closed", "", {**asdict(loss), "text": loss.text}))
    learned, lost = csv.DictReader(io.StringIO((tmp_path / "e.csv").read_text()))
    assert {name: learned[name] for name in lesson} == lesson
    assert lost["text"].endswith("3 messages, 0 updates, pictures of 40 messages")


@pytest.mark.parametrize("keep", [0, 2])
def test_a_csv_with_the_columns_of_an_earlier_version_is_kept_beside_a_new_one(tmp_path, keep):
    path = tmp_path / "e.csv"
    path.write_text("at,kind,text\n1,event,x\n")
    with Csv(path, keep=keep) as sink:
        sink.send(event())
    with Csv(path, keep=keep) as sink:
        sink.send(event())
    assert (tmp_path / "e.csv.1").read_text() == "at,kind,text\n1,event,x\n"
    assert not (tmp_path / "e.csv.2").exists()
    assert len(path.read_text().splitlines()) == 3


def test_lines_go_to_a_stream():
    out = io.StringIO()
    Lines(out).send(event())
    assert json.loads(out.getvalue())["state"] == "closed"


# -- pictures and clips --------------------------------------------------------------------------------


def test_pictures_of_an_event_meet_in_the_day_it_opened(tmp_path):
    with PictureFolder(tmp_path) as sink:
        sink.send(event(state="opened", attachments={"picture.jpg": b"first"}))
        sink.send(event(state="updated"))
        sink.send(event(state="closed", attachments={"picture.jpg": b"worst", "map.png": b"map"}))
    folder = tmp_path / "left" / "2026-01-01"
    assert (folder / "e1.picture.jpg").read_bytes() == b"worst"
    assert (folder / "e1.map.png").read_bytes() == b"map"
    assert json.loads((folder / "e1.event.json").read_text())["state"] == "closed"


def test_the_picture_folder_keeps_to_its_quota_and_leaves_other_files_alone(tmp_path):
    (tmp_path / "important.doc").write_bytes(bytes(50_000))
    with PictureFolder(tmp_path, max_mb=0.1) as sink:
        for number in range(60):
            sink.send(event(f"e{number:03d}", attachments={"picture.jpg": bytes(5000)}))
    ours = sorted(path.name for path in tmp_path.rglob("*.picture.jpg"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("e*") if path.is_file()) <= 100_000
    assert ours[-1] == "e059.picture.jpg"
    assert len(ours) >= 12
    assert (tmp_path / "important.doc").exists()


def test_the_picture_shows_the_worst_frame_and_the_map_where(tmp_path, detector, good_frames, defective):
    with Delivery([PictureFolder(tmp_path)]) as delivery:
        list(stream(detector, [good_frames[0], defective.frame, good_frames[1]], listeners=[delivery]))
    (picture,) = tmp_path.rglob("*.picture.jpg")
    (anomaly_map,) = tmp_path.rglob("*.map.png")
    assert np.abs(read_picture(picture).frame.astype(int) - defective.frame).mean() < 6
    grey = cv2.imread(str(anomaly_map), cv2.IMREAD_GRAYSCALE)
    assert grey.shape == defective.frame.shape[:2]
    assert grey.max() == 255
    y, x = np.unravel_index(grey.argmax(), grey.shape)
    assert abs(x - defective.x - defective.width / 2) < 25
    assert abs(y - defective.y - defective.height / 2) < 25


def test_a_clip_shows_what_was_before_and_after(tmp_path):
    scores = [0.1] * 60 + [0.9] * 10 + [0.1] * 60
    frames = [frame_scoring(score, number) for number, score in enumerate(scores)]
    with ClipRecorder(tmp_path, before_s=0.1, after_s=0.1) as clips:
        results = list(stream(FakeDetector(), FakeCamera([frames], period_s=0.008), listeners=[clips]))
    (path,) = tmp_path.rglob("*.avi")
    assert path.stem == next(event.id for result in results for event in result.events)
    video = cv2.VideoCapture(str(path))
    bright = []
    while True:
        there, image = video.read()
        if not there:
            break
        bright.append(image[0, 0, 2] > 60)
    assert 0 < bright.index(True) < 30
    assert not bright[-1]
    assert len(bright) < 70


def test_clips_keep_to_their_quota(tmp_path):
    scores = ([0.1] * 3 + [0.9] * 3) * 12
    frames = [frame_scoring(score, number) for number, score in enumerate(scores)]
    with ClipRecorder(tmp_path, before_s=0.02, after_s=0.0, max_mb=0.03) as clips:
        list(stream(FakeDetector(), FakeCamera([frames], period_s=0.01), listeners=[clips]))
    assert clips.written > 3
    assert clips.quota.removed > 0
    # One clip is written before its size is known.
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.avi")) < 45_000


def test_a_disk_that_hangs_does_not_keep_a_loop_from_ending(tmp_path, monkeypatch):
    monkeypatch.setattr(clips_module, "_END_S", 0.1)
    release = threading.Event()
    with ClipRecorder(tmp_path) as clips:
        monkeypatch.setattr(clips, "_take", lambda *_: release.wait(20))
        list(stream(FakeDetector(), [frame_scoring(0.1)] * 20, listeners=[clips]))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert clips.left_out > 0
    release.set()


# -- webhook -------------------------------------------------------------------------------------------


@pytest.fixture
def receiver():
    """A web server that answers with the codes it is given, then 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = server.codes.pop(0) if server.codes else 200
            if code == 200:
                server.got.append((json.loads(body), dict(self.headers)))
            self.send_response(code)
            if server.location:
                self.send_header("Location", server.location)
            self.end_headers()

        def do_GET(self):  # as what a redirect makes of a POST would be answered
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.codes, server.got, server.location = [], [], ""
    server.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_webhook_posts_json_with_headers_and_pictures(receiver):
    sink = Webhook(receiver.url, headers={"Authorization": "Bearer x"}, pictures=True, kinds=("event",))
    sink.send(event(attachments={"picture.jpg": b"\xff\xd8"}))
    sink.send(StoredMessage("trouble", "left", "t", "opened", "", {}))
    ((body, headers),) = receiver.got
    assert body["id"] == "e1"
    assert base64.b64decode(body["files"]["picture.jpg"]) == b"\xff\xd8"
    assert headers["Authorization"] == "Bearer x"


@pytest.mark.parametrize(("code", "kind"), [(500, SinkError), (401, SinkError), (422, SinkRefusedError)])
def test_which_answers_are_tried_again(receiver, code, kind):
    receiver.codes = [code]
    with pytest.raises(kind) as caught:
        Webhook(receiver.url).send(event())
    assert isinstance(caught.value, SinkRefusedError) == (kind is SinkRefusedError)


def test_a_webhook_that_fails_at_first_gets_all_in_order(receiver):
    receiver.codes = [503, 500, 429, 422]
    frames = [frame_scoring(score) for score in (0.9, 0.1, 0.9, 0.1)]
    with Delivery([Webhook(receiver.url)], backoff_s=(0.01, 0.02)) as delivery:
        list(stream(FakeDetector(), frames, listeners=[delivery]))
        wait_until(lambda: len(receiver.got) == 3)
    assert [body["state"] for body, _ in receiver.got] == ["closed", "opened", "closed"]


def test_a_receiver_that_moved_has_not_taken_it(receiver):
    receiver.codes, receiver.location = [301], f"{receiver.url}/new?key=geheim"
    with pytest.raises(SinkError, match=r"answers 301: it moved to .*/new\?key=\*\*\*") as caught:
        Webhook(receiver.url).send(event())
    assert not isinstance(caught.value, SinkRefusedError)
    assert receiver.got == []


def test_who_one_is_in_the_address_is_a_header_and_never_shown(receiver):
    url = receiver.url.replace("http://", "http://an%40na:geheim@")
    sink = Webhook(url)
    sink.send(event())
    ((_, headers),) = receiver.got
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"an@na:geheim"
    assert "geheim" not in sink.name


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:y/", "http://x y/", "https://[::1", ""])
def test_no_web_address_is_refused(url):
    with pytest.raises(ConfigError, match="is no web address"):
        Webhook(url)


@pytest.mark.parametrize(
    "headers", [{"A": "geheim\n"}, {"A": "gehe\u20acim"}, {"A b": "geheim"}, {"": "geheim"}]
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(headers):
    with pytest.raises(ConfigError) as caught:
        Webhook("http://x", headers=headers)
    assert "gehe" not in str(caught.value)


def test_a_dead_address_is_down():
    with pytest.raises(SinkError, match="cannot be reached") as caught:
        Webhook("http://u:secret@127.0.0.1:9/x", timeout_s=1).send(event())
    assert "secret" not in str(caught.value)


# -- numbers -------------------------------------------------------------------------------------------


FUZZED = Metrics(port=0)


@pytest.fixture(scope="module", autouse=True)
def _fuzzed():
    with FUZZED:
        yield


def _get(metrics, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_say_what_happened(tmp_path):
    frames = [frame_scoring(score) for score in (0.1, 0.9, 0.9, 0.1)] + [np.zeros((4, 4), np.uint8)]
    with Metrics(port=0) as metrics, Delivery([JsonLines(tmp_path / "e.jsonl")]) as delivery:
        running = stream(FakeDetector(), frames, listeners=[metrics, delivery], name='l"ft')
        metrics.watch(running, delivery)
        assert _get(metrics, "/readyz")[0] == 503
        list(running)
        wait_until(lambda: not any(delivery.waiting().values()))
        status, text = _get(metrics, "/metrics")
        assert _get(metrics, "/healthz")[0] == 200
        assert _get(metrics, "/elsewhere")[0] == 404
    assert status == 200
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
    camera = 'camera="l\\"ft"'
    assert values[f"edgead_frames_inspected_total{{{camera}}}"] == 4
    assert values[f"edgead_frames_not_inspected_total{{{camera}}}"] == 1
    assert values[f"edgead_frames_anomalies_total{{{camera}}}"] == 2
    assert values[f"edgead_latency_seconds_count{{{camera}}}"] == 4
    assert values[f'edgead_latency_seconds_bucket{{{camera},le="+Inf"}}'] == 4
    assert values[f'edgead_score{{{camera},quantile="0.5"}}'] == pytest.approx(0.5)
    assert values[f'edgead_events_total{{{camera},state="closed"}}'] == 1
    assert values[f'edgead_sink_up{{sink="jsonlines {tmp_path}/e.jsonl"}}'] == 1
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families))


def test_ready_while_a_camera_is_inspected_and_not_while_it_is_lost():
    from edgead_runtime.streaming import CaptureSettings

    camera = FakeCamera(
        [[frame_scoring(0.1, n) for n in range(50)], OSError("gone")] + [OSError("gone")] * 50
    )
    with Metrics(port=0) as metrics:
        settings = CaptureSettings(backoff_s=(0.05, 0.05))
        running = stream(FakeDetector(), camera, listeners=[metrics], capture=settings)
        metrics.watch(running)
        threading.Thread(target=lambda: list(running), daemon=True).start()
        wait_until(lambda: _get(metrics, "/readyz")[0] == 200)
        wait_until(lambda: "lost" in _get(metrics, "/readyz")[1])
        running.stop()


def test_while_it_starts_it_is_alive_and_not_ready():
    with Metrics(port=0) as metrics:
        assert _get(metrics, "/healthz")[0] == 503  # nobody said that anything comes
        metrics.starting("left: learning lessons again, 12 of 200")
        status, text = _get(metrics, "/readyz")
        assert (status, json.loads(text)) == (503, {"starting": "left: learning lessons again, 12 of 200"})
        assert _get(metrics, "/healthz")[0] == 200
        assert _get(metrics, "/metrics")[0] == 200


def test_what_sinks_lost_and_failed_is_in_the_numbers(tmp_path):
    class Refuses(JsonLines):
        def send(self, message):
            raise SinkRefusedError("no", "Never.")

    class Down(JsonLines):
        def send(self, message):
            raise OSError("down")

    sinks = [Refuses(tmp_path / "a"), Down(tmp_path / "b")]
    with Metrics(port=0) as metrics, Delivery(sinks, max_mb=0.02, backoff_s=(0.01, 0.02)) as delivery:
        metrics.watch(stream(FakeDetector(), [], listeners=[delivery]), delivery)
        frames = [frame_scoring(0.9 if number % 2 else 0.1) for number in range(60)]
        list(stream(FakeDetector(), frames, listeners=[delivery]))
        delivery.flush()
        refuses, down = (sink.name for sink in sinks)
        wait_until(lambda: delivery.states[down].failures > 1 and delivery.states[refuses].refused > 1)
        text = _get(metrics, "/metrics")[1]
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values[f'edgead_sink_refused_total{{sink="{refuses}"}}']) > 1
    assert float(values[f'edgead_sink_failures_total{{sink="{down}"}}']) > 1
    lost = sum(
        float(values[f'edgead_outbox_lost_total{{sink="{down}",what="{what}"}}'])
        for what in ("messages", "updates", "pictures")
    )
    assert lost > 0
    assert values['edgead_outbox_dropped_total{what="messages"}'] == "0"
    assert values["edgead_listener_failures_total"] == "0"


def test_numbers_of_an_ipv6_address_and_no_more_connections_than_it_has_threads_for():
    try:
        metrics = Metrics("::1", port=0).__enter__()
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    silent = []
    try:
        with urllib.request.urlopen(f"http://[::1]:{metrics.port}/metrics", timeout=5) as answer:
            assert answer.status == 200
        for _ in range(40):
            silent.append(socket.create_connection(("::1", metrics.port), timeout=5))
            silent[-1].sendall(b"GET /metrics")
        wait_until(lambda: sum(thread.name.startswith("Thread-") for thread in threading.enumerate()) >= 32)
        assert silent[-1].recv(1) == b""  # turned away
    finally:
        for each in silent:
            each.close()
        metrics.__exit__(None, None, None)


@given(st.binary(max_size=300))
@example(b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n")
@example(b"GET http://[::1/metrics HTTP/1.1\r\n\r\n")
def test_any_bytes_are_answered_or_refused_and_the_server_lives(data):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", FUZZED.port), timeout=5) as one:
        one.sendall(data + b"\r\n\r\n")
        one.shutdown(socket.SHUT_WR)
        while one.recv(4096):
            pass
    assert _get(FUZZED, "/metrics")[0] == 200


def test_a_port_in_use_is_said():
    with (
        Metrics(port=0) as first,
        pytest.raises(ConfigError, match="the page of numbers and health cannot listen on"),
        Metrics(port=first.port),
    ):
        pass
