"""At least once, in order, whatever the sinks do; and over a killed process."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from edgead_runtime import Picture, stream
from edgead_runtime.errors import ConfigError, SinkRefusedError
from edgead_runtime.streaming import Delivery, Message
from edgead_runtime.streaming.sinks import JsonLines, Sink
from stream_fakes import FakeDetector, frame_scoring, wait_until

HERE = Path(__file__).parent


class Memory(Sink):
    """Keeps what it is sent; fails as told."""

    def __init__(self, name="memory"):
        self.name, self.got, self.failing, self.opened, self.closed = name, [], False, 0, 0
        self.refuses = set()

    def open(self):
        self.opened += 1

    def send(self, message):
        if self.failing:
            raise OSError("the wire is cut")
        if message.key in self.refuses:
            raise SinkRefusedError("no", "Never.")
        self.got.append((message.kind, message.key, message.state))

    def close(self):
        self.closed += 1


def message(key, state="closed", kind="event", attachments=None):
    return Message(kind, "camera", str(key), state, "2026-01-01T00:00:00.000Z", {}, attachments or {})


def test_events_of_a_stream_reach_every_sink_with_picture_and_map(tmp_path):
    one, two = Memory("one"), Memory("two")
    frames = [frame_scoring(score) for score in (0.1, 0.9, 0.9, 0.1, 0.8, 0.1)]
    lines = JsonLines(tmp_path / "events.jsonl")
    with Delivery([one, two, lines], outbox=tmp_path / "outbox.db") as delivery:
        list(stream(FakeDetector(), frames, listeners=[delivery], name="left"))
    states = [state for _, _, state in one.got]
    assert states == ["opened", "closed", "opened", "closed"]
    assert one.got == two.got
    written = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["state"] for line in written] == states
    assert written[1]["camera"] == "left"
    assert written[1]["score"] == pytest.approx(0.9)
    assert written[1]["worst"]["sequence"] == 1
    assert written[1]["worst"]["regions"][0]["area_px"] == 16
    assert written[1]["attachments"] == ["map.png", "picture.jpg"]
    assert one.closed == two.closed == 1


def test_one_that_is_down_delays_no_other_and_gets_all_in_order_later(tmp_path):
    up, down = Memory("up"), Memory("down")
    down.failing = True
    with Delivery([up, down], outbox=tmp_path / "o.db", backoff_s=(0.01, 0.05)) as delivery:
        for number in range(30):
            delivery.on_message(message(number))
            delivery.flush()
        wait_until(lambda: len(up.got) == 30)
        assert delivery.states["down"].down == "the wire is cut"
        assert delivery.waiting() == {"up": 0, "down": 30}
        down.failing = False
        wait_until(lambda: len(down.got) == 30)
        assert down.got == up.got
        assert delivery.states["down"].down == ""
    assert down.opened > 1  # opened anew after each failure


def test_what_is_refused_is_counted_and_does_not_hold_up_the_rest():
    sink = Memory()
    sink.refuses = {"1"}
    with Delivery([sink]) as delivery:
        for number in range(3):
            delivery.on_message(message(number))
        wait_until(lambda: len(sink.got) == 2)
        assert delivery.states["memory"].refused == 1


def test_what_stays_waits_for_the_next_process(tmp_path):
    sink = Memory()
    sink.failing = True
    with Delivery([sink], outbox=tmp_path / "o.db", backoff_s=(0.01, 0.02), drain_s=0.2) as delivery:
        delivery.on_message(message("a"))
        delivery.on_message(message("b"))
    assert sink.got == []
    sink.failing = False
    with Delivery([sink], outbox=tmp_path / "o.db") as delivery:
        wait_until(lambda: len(sink.got) == 2)
    assert [key for _, key, _ in sink.got] == ["a", "b"]


def test_a_broker_down_longer_than_the_quota_is_told_what_it_lost(tmp_path):
    sink = Memory()
    sink.failing = True
    with Delivery([sink], outbox=tmp_path / "o.db", max_mb=0.02, backoff_s=(0.01, 0.05)) as delivery:
        for number in range(300):
            delivery.on_message(message(number))
            delivery.flush()
        waiting = delivery.waiting()["memory"]
        assert waiting < 100
        sink.failing = False
        wait_until(lambda: delivery.waiting()["memory"] == 0)
    kinds = [kind for kind, _, _ in sink.got]
    assert kinds[0] == "loss"
    assert kinds.count("loss") == 1
    assert [key for _, key, _ in sink.got[1:]] == [str(n) for n in range(300 - waiting, 300)]


def test_a_picture_that_cannot_be_made_does_not_take_its_message_along(caplog):
    sink = Memory()
    with Delivery([sink]) as delivery:
        delivery.on_message(message("a", attachments={"picture.jpg": lambda: 1 / 0}))
        wait_until(lambda: sink.got)
    assert "goes without" in caplog.text


def test_a_disk_that_hangs_does_not_stop_the_loop(tmp_path, monkeypatch):
    from edgead_runtime.streaming.outbox import Outbox

    sink, really = Memory(), Outbox.add
    hangs = [True]

    def add(self, messages):
        while hangs[0]:
            time.sleep(0.01)
        really(self, messages)

    with Delivery([sink], outbox=tmp_path / "o.db") as delivery:
        monkeypatch.setattr(Outbox, "add", add)
        began = time.monotonic()
        for number in range(200):
            delivery.on_message(message(number, attachments={"picture.jpg": lambda: b"x"}))
        assert time.monotonic() - began < 1
        assert delivery.dropped_pictures > 0
        assert delivery.dropped_messages > 100
        hangs[0] = False
        wait_until(lambda: len(sink.got) + delivery.dropped_messages == 200)


def test_nothing_in_a_message_stands_in_the_way_of_the_others(tmp_path):
    """A file name of foreign bytes, no number, no JSON."""
    frames = [Picture("caf\udce9.png", frame_scoring(0.9)), frame_scoring(0.1)]
    with Delivery([JsonLines(tmp_path / "e.jsonl")], outbox=tmp_path / "o.db") as delivery:
        body = {"drift": float("nan"), "folder": tmp_path, "left": float("inf")}
        delivery.on_message(Message("drift", "camera", "d", "opened", "2026-01-01T00:00:00.000Z", body))
        list(stream(FakeDetector(), frames, listeners=[delivery]))
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["drift", "event", "event"]
    assert (lines[0]["drift"], lines[0]["left"], lines[0]["folder"]) == (None, None, str(tmp_path))
    assert lines[2]["worst"]["name"] == "caf?.png"


def test_ten_sinks_that_hang_take_no_longer_to_leave_than_one(tmp_path):
    from edgead_runtime.streaming.outbox import Outbox

    release = threading.Event()

    class Hangs(Memory):
        def send(self, message):
            release.wait(20)

    sinks = [Hangs() for _ in range(10)]
    for number, sink in enumerate(sinks):
        sink.name = str(number)
    with Delivery(sinks, outbox=tmp_path / "o.db", drain_s=0.6) as delivery:
        delivery.on_message(message(1))
        delivery.flush()
        began = time.monotonic()
    assert time.monotonic() - began < 5  # and not ten times 0.6 s, and what comes before
    release.set()
    again = Outbox(tmp_path / "o.db", ["0"])
    assert again.waiting() == {"0": 1}
    again.close()


def test_two_sinks_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="share a name"):
        Delivery([Memory(), Memory()])


# -- kill -9 -------------------------------------------------------------------------------------------

_RUN = """
import sys, time
sys.path[:0] = {path!r}
from edgead_runtime import Picture, stream
from edgead_runtime.streaming import Delivery
from edgead_runtime.streaming.sinks import Sink
from stream_fakes import FakeDetector, frame_scoring

class Down(Sink):
    name = "collector"
    def send(self, message):
        raise OSError("down")

def frames():
    for number in range(1000):
        yield frame_scoring(0.9 if number % 4 < 2 else 0.1, number)
        time.sleep(0.002)

with Delivery([Down()], outbox={outbox!r}, backoff_s=(0.01, 0.05)) as delivery:
    for result in stream(FakeDetector(), frames(), listeners=[delivery]):
        if result.events:
            delivery.flush()   # from here on it is promised
            for event in result.events:
                print(event.id, event.change.value, flush=True)
"""


def _kill_in_the_middle(outbox: Path, after_lines: int) -> list[list[str]]:
    code = _RUN.format(path=[*sys.path, str(HERE)], outbox=str(outbox))
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    promised = []
    for line in process.stdout:
        promised.append(line.split())
        if len(promised) == after_lines:
            os.kill(process.pid, signal.SIGKILL)
            break
    promised += [line.split() for line in process.stdout if line.endswith("\n")]
    assert process.wait() == -signal.SIGKILL
    return promised


@pytest.mark.parametrize("after_lines", [9, 24])
def test_kill_9_takes_no_promised_event_back(tmp_path, after_lines):
    """Killed with an event open (an odd number of lines) and right after one closed."""
    outbox = tmp_path / "outbox.db"
    promised = _kill_in_the_middle(outbox, after_lines)
    promised += _kill_in_the_middle(outbox, after_lines)  # and what waited twice is not lost either
    sink = Memory("collector")
    with Delivery([sink], outbox=outbox):
        wait_until(lambda: len(sink.got) >= len(promised))
        time.sleep(0.1)
    got = [[key, state] for _, key, state in sink.got]
    assert [pair for pair in got if pair in promised] == promised  # all of them, in order
    # Every one that opened was closed, by its own process or as interrupted by the next.
    assert {key for key, state in got if state == "opened"} == {
        key for key, state in got if state == "closed"
    }
    assert len(got) == len({tuple(pair) for pair in got})
