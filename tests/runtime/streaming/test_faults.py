"""What cameras, engines, disks and clocks do to a loop that is to run for weeks."""

import itertools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from edgead_runtime import stream
from edgead_runtime.errors import FrameSizeError, SourceError, SourceLostError, StreamStoppedError
from edgead_runtime.streaming import Camera, CaptureSettings, Delivery, Rules, Stream, loop
from edgead_runtime.streaming.clock import SystemClock
from edgead_runtime.streaming.sinks import JsonLines, PictureFolder
from edgead_runtime.streaming.sources import Frames
from stream_fakes import FakeCamera, FakeDetector, Recorder, frame_scoring, wait_until

HERE = Path(__file__).parent
SOON = CaptureSettings(backoff_s=(0.02, 0.1))


def frames(count, score=0.1, start=0):
    return [frame_scoring(score, number) for number in range(start, start + count)]


# -- the source ----------------------------------------------------------------------------------------


def test_a_camera_that_vanishes_and_returns():
    heard = Recorder()
    away = SourceLostError("the cable is out", "Plug it in.")
    camera = FakeCamera([frames(20), away, away, frames(20, start=100)])
    running = stream(FakeDetector(), camera, capture=SOON, listeners=[heard])
    results = list(running)
    assert {result.frame.image[1, 0, 0] >= 100 for result in results} == {False, True}
    assert [result.frame.sequence for result in results] == sorted(
        result.frame.sequence for result in results
    )
    assert heard.heard("trouble")[:2] == [("lost", "opened"), ("lost", "closed")]
    assert running.stats()["camera"].reconnects >= 3
    assert camera.closed == 2


def test_an_event_that_was_open_when_the_camera_went_is_closed_as_unseen():
    heard = Recorder()
    camera = FakeCamera([frames(10, 0.9), [lambda: time.sleep(0.6), *frames(5)]])
    rules = Rules(close_unseen_s=0.2)
    list(stream(FakeDetector(), camera, rules=rules, capture=SOON, listeners=[heard]))
    assert heard.heard("event") == [("", "opened"), ("", "closed")]
    assert (
        next(m for m in heard.messages if m.state == "closed" and m.kind == "event").body["reason"]
        == "unseen"
    )


def test_a_camera_that_is_away_for_too_long_ends_the_stream_if_that_was_asked():
    away = [SourceLostError("the cable is out", "Plug it in.")] * 100
    settings = CaptureSettings(backoff_s=(0.02, 0.05), give_up_s=0.3)
    with pytest.raises(SourceError, match=r"the cable is out, for \d+ s"):
        list(stream(FakeDetector(), FakeCamera(away), capture=settings))


def test_a_source_that_hangs_is_noticed_and_opened_anew():
    heard, release = Recorder(), threading.Event()
    camera = FakeCamera([[*frames(5), lambda: release.wait(20), *frames(5)], frames(5, start=100)])
    settings = CaptureSettings(stall_s=0.3, backoff_s=(0.02, 0.1))
    results = list(stream(FakeDetector(), camera, capture=settings, listeners=[heard]))
    release.set()
    assert results[-1].frame.image[1, 0, 0] >= 100
    assert ("stalled", "opened") in heard.heard("trouble")
    assert ("stalled", "closed") in heard.heard("trouble")
    wait_until(lambda: camera.closed == 2)  # the one that hung is closed by its own thread once it is back


def test_one_that_hangs_for_too_long_ends_the_stream_if_that_was_asked():
    release = threading.Event()
    camera = FakeCamera([[*frames(3), lambda: release.wait(20)], *[[lambda: release.wait(20)]] * 50])
    settings = CaptureSettings(stall_s=0.05, backoff_s=(0.01, 0.01), give_up_s=1.0)
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"fake camera has given nothing, for \d+ s now"):
        list(stream(FakeDetector(), camera, capture=settings))
    assert time.monotonic() - began >= 1.0
    release.set()


def test_what_one_that_hung_says_later_is_not_of_the_camera():
    heard, release, said = Recorder(), threading.Event(), threading.Event()

    def fail():
        release.wait(20)
        said.set()
        raise SourceLostError("the first connection broke off", "Plug it in.")

    later = [lambda: (release.set(), said.wait(5), time.sleep(0.1)), *frames(20, start=100)]
    camera = FakeCamera([[*frames(5), fail], later])
    settings = CaptureSettings(stall_s=0.3, backoff_s=(0.02, 0.1))
    running = stream(FakeDetector(), camera, capture=settings, listeners=[heard])
    list(itertools.islice(running, 15))
    assert ("stalled", "closed") in heard.heard("trouble")
    assert ("lost", "opened") not in heard.heard("trouble")
    assert running.stats()["camera"].reconnects == 1


def test_one_that_always_hangs_costs_a_few_threads_and_no_more():
    release = threading.Event()
    hang = [lambda: release.wait(20)]
    camera = FakeCamera([hang] * 50)
    settings = CaptureSettings(stall_s=0.05, backoff_s=(0.01, 0.01))
    running = stream(FakeDetector(), camera, capture=settings)
    threading.Timer(2.5, running.stop).start()
    assert list(running) == []
    assert camera.opened <= 4
    release.set()


def test_a_frozen_camera_is_noticed_and_its_frames_are_marked():
    heard = Recorder()
    still = [frame_scoring(0.1, 7)] * 150
    camera = FakeCamera([[*frames(10), *still, *frames(60)]], period_s=0.004)
    settings = CaptureSettings(frozen_s=0.3)
    results = list(stream(FakeDetector(), camera, capture=settings, listeners=[heard]))
    assert heard.heard("trouble")[:2] == [("frozen", "opened"), ("frozen", "closed")]
    marked = [result.frame.frozen for result in results]
    assert any(marked)
    assert not marked[0]
    assert not marked[-1]


def test_frames_that_change_their_size_are_not_inspected_and_said(detector, good_frames, quick):
    other = np.ascontiguousarray(np.pad(good_frames[0], ((0, 20), (0, 0), (0, 0))))
    heard = Recorder()
    given = [good_frames[0], other, other, good_frames[1]]
    results = list(stream(detector, given, listeners=[heard]))
    assert [result.is_good for result in results] == [True, False, False, True]
    assert isinstance(results[1].failure, FrameSizeError)
    assert heard.heard("trouble") == [("not inspected", "opened"), ("not inspected", "closed")]
    assert heard.heard("event") == []


def test_garbage_from_a_camera_is_counted_and_survived():
    grey, floats, tiny = np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3)), np.zeros((2, 2, 3), np.uint8)
    given = [frame_scoring(0.1, 1), grey, floats, tiny, "no frame", None, frame_scoring(0.1, 2)]
    running = stream(FakeDetector(), given)
    assert [result.is_good for result in running] == [True, False, False, False, False, False, True]
    assert running.stats()["camera"].not_inspected == 5


# -- the engine ----------------------------------------------------------------------------------------


def _fails(on):
    def script(call):
        if on(call):
            raise RuntimeError("CUDA says no")

    return script


def test_an_engine_that_fails_once_costs_one_frame():
    heard = Recorder()
    results = list(stream(FakeDetector(script=_fails(lambda call: call == 3)), frames(6), listeners=[heard]))
    assert [result.is_good for result in results] == [True, True, False, True, True, True]
    assert "CUDA says no" in str(results[2].failure)
    assert heard.heard("trouble") == [("engine", "opened"), ("engine", "closed")]


def test_an_engine_that_always_fails_stops_the_stream_with_its_reason():
    heard = Recorder()
    detector = FakeDetector(script=_fails(lambda call: call > 2))
    cameras = [Camera("a", detector, Frames(frames(2, 0.9) + frames(50)))]
    with pytest.raises(StreamStoppedError, match=r"failed on 10 frames in a row .*CUDA says no"):
        list(Stream(cameras, give_up_after=10, listeners=[heard]))
    assert len(heard.results) == 12
    assert heard.heard("event") == [("", "opened"), ("", "closed")]


def test_an_engine_that_hangs_stops_the_stream_with_its_reason():
    release, heard = threading.Event(), Recorder()

    def script(call):
        if call == 3:
            release.wait(30)

    cameras = [Camera("a", FakeDetector(script=script), FakeCamera([frames(5000, 0.9)]))]
    with pytest.raises(StreamStoppedError, match="has not come back"):
        list(Stream(cameras, engine_timeout_s=0.6, listeners=[heard]))
    release.set()
    assert heard.heard("event")[-1] == ("", "closed")


def test_an_engine_that_hangs_does_not_keep_a_loop_that_is_told_to_end(monkeypatch):
    """Its own patience, 60 s and ten times that for the first frame, is more than a service manager's."""
    monkeypatch.setattr(loop, "_GRACE_S", 0.3)
    release, heard = threading.Event(), Recorder()

    def script(call):
        if call == 2:
            release.wait(30)

    running = Stream(
        [Camera("a", FakeDetector(script=script), FakeCamera([frames(5000, 0.9)]))], listeners=[heard]
    )
    threading.Timer(0.5, running.stop).start()
    began = time.monotonic()
    with pytest.raises(StreamStoppedError, match="told to end, and the engine has not come back"):
        list(running)
    release.set()
    assert time.monotonic() - began < 10
    assert heard.heard("event") == [("", "opened"), ("", "closed")]


def test_ten_sources_that_hang_take_no_longer_to_leave_than_one():
    release = threading.Event()
    hang = [lambda: release.wait(20)]
    cameras = [Camera(str(number), FakeDetector(), FakeCamera([hang])) for number in range(10)]
    running = Stream(cameras)
    threading.Timer(0.3, running.stop).start()
    began = time.monotonic()
    assert list(running) == []
    assert time.monotonic() - began < 6  # and not twenty
    release.set()


def test_a_slow_engine_drops_frames_and_holds_no_more_than_a_few(part):
    big = np.zeros((1000, 1000, 3), np.uint8)

    def many():
        for number in range(300):
            frame = big.copy()
            frame[1, 0, 0] = number % 256
            yield frame
            time.sleep(0.002)

    tracemalloc.start()
    running = stream(FakeDetector(takes_s=0.05), Frames(many(), live=True))
    for _ in running:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert running.stats()["camera"].dropped > 200
    assert peak < 12 * big.nbytes  # not 300


# -- clocks --------------------------------------------------------------------------------------------


class _JumpingClock(SystemClock):
    """The wall clock is set by hours, back and forth, each time it is read."""

    def __init__(self):
        self._jumps = itertools.cycle([timedelta(), timedelta(hours=-9), timedelta(days=400)])

    def now(self):
        return super().now() + next(self._jumps)


def test_a_wall_clock_that_jumps_changes_stamps_and_nothing_else(tmp_path):
    scores = [0.1, 0.9, 0.9, 0.1, 0.9, 0.1]
    heard = Recorder()
    cameras = [Camera("a", FakeDetector(takes_s=0.01), Frames([frame_scoring(score) for score in scores]))]
    with Delivery([JsonLines(tmp_path / "e.jsonl")], clock=_JumpingClock()) as delivery:
        list(Stream(cameras, clock=_JumpingClock(), listeners=[heard, delivery]))
    assert heard.heard("event") == [("", "opened"), ("", "closed")] * 2
    for message in heard.messages:
        assert 0 <= message.body["duration_s"] < 1
        assert message.body["opened_at"] <= message.at
    written = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [line["id"] for line in written] == [message.key for message in heard.messages]


# -- the disk ------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("a small file system needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_nothing_and_what_could_not_be_written_comes_when_there_is_space(small_disk):
    (small_disk / "ballast").write_bytes(bytes(800_000))
    picture = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    picture[0, 0] = 90

    def many():
        for number in range(40):
            yield picture if number % 2 else frame_scoring(0.1)

    folder = small_disk / "events"
    sinks = [PictureFolder(folder), JsonLines(small_disk / "e.jsonl")]
    with Delivery(sinks, outbox=small_disk / "o.db", max_mb=50, backoff_s=(0.02, 0.1)) as delivery:
        results = list(stream(FakeDetector(), many(), listeners=[delivery]))
        delivery.flush()
        assert len(results) == 40
        assert delivery.disk_problem or delivery.states[sinks[0].name].down
        assert list(folder.rglob("*.picture.jpg"))[:1] or delivery.disk_problem
        subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
        wait_until(lambda: not any(delivery.waiting().values()))
    assert len(list(folder.rglob("*.picture.jpg"))) == 20
    written = [json.loads(line) for line in (small_disk / "e.jsonl").read_text().splitlines()]
    assert [line["state"] for line in written] == ["opened", "closed"] * 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_sink_on_a_full_disk_is_down_and_the_others_are_not(tmp_path):
    (tmp_path / "e.jsonl").symlink_to("/dev/full")
    full, fine = JsonLines(tmp_path / "e.jsonl"), JsonLines(tmp_path / "fine.jsonl")
    with Delivery([full, fine], backoff_s=(0.01, 0.05), drain_s=0.5) as delivery:
        list(stream(FakeDetector(), frames(2, 0.9) + frames(2), listeners=[delivery]))
        wait_until(lambda: delivery.states[full.name].failures > 1)
        assert "No space left" in delivery.states[full.name].down
    assert len((tmp_path / "fine.jsonl").read_text().splitlines()) == 2


# -- the process ---------------------------------------------------------------------------------------

_RUN = """
import sys, time
sys.path[:0] = {path!r}
from edgead_runtime import stream
from edgead_runtime.streaming import Delivery, stop_on_signals
from edgead_runtime.streaming.sinks import JsonLines
from stream_fakes import FakeDetector, frame_scoring

def frames():
    for number in range(100000):
        yield frame_scoring(0.9, number)
        time.sleep(0.005)

with stop_on_signals() as stop, Delivery([JsonLines({out!r})], outbox={outbox!r}) as delivery:
    for result in stream(FakeDetector(), frames(), stop=stop, listeners=[delivery]):
        if result.frame.sequence == 5:
            print("in the middle", flush=True)
print("ended well", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_an_event_closes_it(tmp_path, number):
    code = _RUN.format(
        path=[*sys.path, str(HERE)], out=str(tmp_path / "e.jsonl"), outbox=str(tmp_path / "o.db")
    )
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert (process.returncode, rest) == (0, "ended well\n")
    written = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [line["state"] for line in written] == ["opened", "closed"]
    assert written[1]["reason"] == "stopped"


@pytest.mark.slow
def test_memory_is_flat_over_many_frames_events_and_troubles(tmp_path, monkeypatch):
    """3,000 frames with an event every four and a failure every fifty; a sink is down all the time."""

    class Down(JsonLines):
        def send(self, message):
            raise OSError("down")

    monkeypatch.setattr(logging.getLogger("edgead"), "disabled", True)
    for name in ("stream", "delivery", "outbox"):  # pytest keeps every record
        monkeypatch.setattr(logging.getLogger(f"edgead.{name}"), "disabled", True)

    def many(count):
        for number in range(count):
            yield frame_scoring(0.9 if number % 4 < 2 else 0.1, number)

    detector = FakeDetector(script=_fails(lambda call: call % 50 == 0))
    sinks = [Down(tmp_path / "down"), JsonLines(tmp_path / "e.jsonl", max_mb=0.2, keep=1)]
    with Delivery(sinks, outbox=tmp_path / "o.db", max_mb=0.3, backoff_s=(0.01, 0.05)) as delivery:
        list(stream(detector, many(600), listeners=[delivery]))
        delivery.flush()
        tracemalloc.start()
        list(stream(detector, many(600), listeners=[delivery]))
        delivery.flush()
        first, _ = tracemalloc.get_traced_memory()
        list(stream(detector, many(1800), listeners=[delivery]))
        delivery.flush()
        second, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert second - first < 300_000, f"{(second - first) / 1e3:.0f} kB more after three times as many frames"
    assert (tmp_path / "o.db").stat().st_size < 3_000_000
