"""What a soak promises is looked for in what was found; anything less is told by its name."""

import copy

import pytest
from PIL import Image

from benchmarks.soak.judging import Limits, judge
from benchmarks.soak.report import as_text, draw, verdict
from benchmarks.soak.scene import scratches_by

SAMPLES = 400


def good_run():
    """Thirteen minutes in which all went well."""
    events = [(f"e{number}", state) for number in range(80) for state in ("opened", "updated", "closed")]
    written = [("event", *each) for each in events]
    written.insert(30, ("learned", "lesson-1", "closed"))
    line = {
        "resident_mb": 400.0,
        "children_mb": 0.0,
        "browser_mb": 30.0,
        "threads": 20.0,
        "open_files": 30.0,
        "bank_rows": 2048.0,
        "outbox_mb": 0.1,
        "frames": 40.0,
        "dropped": 10.0,
        "p50_ms": 40.0,
        "p99_ms": 60.0,
        "waiting: jsonlines /work/events.jsonl": 0.0,
        "waiting: away for a third": 0.0,
    }
    state = {"fingerprint": "f", "rows": 2048, "threshold": 0.2, "good": 0.1, "scratched": 0.6}
    return {
        "machine": {"cpu": "a processor", "cores": 2},
        "plan": {
            "encoder": "x",
            "minutes": 14.0,
            "side": 640,
            "fps": 25,
            "precision": "fp32",
            "lesson_every_s": 60.0,
        },
        "runs": {"engine": "openvino/cpu", "frame_graph": True},
        "seconds": 800.0,
        "scratches": scratches_by(20_001, 25),
        "frames": {
            "captured": 20_001,
            "inspected": 16_000,
            "dropped": 4000,
            "skipped": 0,
            "not_inspected": 0,
            "anomalies": 6000,
            "late": 100,
            "reconnects": 0,
        },
        "latency_ms": {"p50": 40.0, "p99": 60.0, "max": 300.0},
        "longest_gap_s": 0.4,
        "listener_failures": 0,
        "delivery": {
            "sinks": {"away for a third": {"delivered": 241, "refused": 0, "failures": 60, "down": ""}},
            "dropped_pictures": 0,
            "dropped_messages": 0,
        },
        "events": events,
        "written": written,
        "reached_the_sink_that_was_away": list(written),
        "left_in_the_outbox": 0,
        "clips": {"written": 80, "left_out": 0, "removed": 20},
        "disk_mb": {"events": 19.0, "clips": 49.0, "lessons": 12.0},
        "visitor": {
            "pictures": 8000,
            "states": 3000,
            "longest_wait_s": 0.5,
            "connections": 1,
            "taught": 6,
            "kept": 6,
            "undone": 12,
            "slowest_lesson_s": 0.4,
            "problems": [],
        },
        "view_pictures": 8000,
        "samples": [{"minutes": 2 * (number + 1) / 60, **line} for number in range(SAMPLES)],
        "detector": {"before": state, "after": dict(state)},
    }


def failed(data, **limits):
    return [check.name for check in judge(data, Limits(**limits)) if check.passed is False]


def test_a_good_run_passes_and_says_what_it_could_not_judge():
    data = good_run()
    checks = judge(data, Limits())
    assert failed(data) == []
    assert verdict(checks).startswith("Passed: all ")
    assert {check.name for check in checks if check.passed is None} == {
        "p99 from capture to verdict",
        "frames dropped",
    }
    assert failed(data, p99_ms=50) == ["p99 from capture to verdict"]
    assert failed(data, dropped=0.1) == ["frames dropped"]


def lose_an_event(data):
    del data["written"][5]


def lose_one_at_the_other_sink(data):
    del data["reached_the_sink_that_was_away"][5]


def swap_two(data):
    got = data["reached_the_sink_that_was_away"]
    got[7], got[8] = got[8], got[7]


def deliver_twice(data):
    data["written"].insert(5, data["written"][5])


def leave_one_open(data):
    for name in ("written", "reached_the_sink_that_was_away"):
        data[name].remove(("event", "e9", "closed"))
    data["events"].remove(("e9", "closed"))


def miss_scratches(data):
    data["scratches"] += 10


def lose_a_frame(data):
    data["frames"]["captured"] += 50


def grow(data):
    for number, line in enumerate(data["samples"]):
        line["resident_mb"] += 60 * number / SAMPLES


def leak_files(data):
    for number, line in enumerate(data["samples"]):
        line["open_files"] += number // 20


def learn_for_good(data):
    data["detector"]["after"]["rows"] += 256


def never_undo(data):
    data["visitor"]["undone"] = 11


def lose_the_page(data):
    data["visitor"] |= {"connections": 2, "problems": ["connection: OSError: gone"]}


def leave_some(data):
    data["left_in_the_outbox"] = 3


def overfill(data):
    data["disk_mb"]["clips"] = 80.0


def stand_still(data):
    data["longest_gap_s"] = 20.0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lose_an_event, "every event's message is in the file, once and in order"),
        (deliver_twice, "every event's message is in the file, once and in order"),
        (lose_one_at_the_other_sink, "reached the sink that was away"),
        (swap_two, "reached the sink that was away"),
        (leave_one_open, "each event opens once, then closes once"),
        (miss_scratches, "every scratch is an event"),
        (lose_a_frame, "every frame is accounted for"),
        (grow, "memory is flat"),
        (leak_files, "open files do not grow"),
        (learn_for_good, "the detector is what it was"),
        (never_undo, "lessons were taken, and taken back"),
        (lose_the_page, "the page was served all the time"),
        (leave_some, "nothing was refused, lost or left in the outbox"),
        (overfill, "folders keep to their quotas"),
        (stand_still, "never 5 s without a result"),
    ],
)
def test_what_went_wrong_is_told_by_its_name(spoil, told):
    data = copy.deepcopy(good_run())
    spoil(data)
    assert any(told in name for name in failed(data)), failed(data)
    assert "FAILED" in as_text(data, judge(data, Limits()))


def test_a_short_run_does_not_judge_memory():
    data = good_run()
    grow(data)
    data["seconds"] = 60.0
    assert failed(data) == []


def test_the_picture_is_drawn_also_where_the_loop_stood(tmp_path):
    data = good_run()
    for name in ("p50_ms", "p99_ms"):
        del data["samples"][50][name]
    draw(data, tmp_path / "soak.png")
    with Image.open(tmp_path / "soak.png") as drawn:
        assert drawn.height > drawn.width
