"""The journal's file: what any bytes in it mean, and what a killed process leaves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from edgead_runtime import Detector
from edgead_runtime.errors import LearningError
from edgead_runtime.images import read_picture
from edgead_runtime.streaming.learning import LineLearning
from edgead_runtime.streaming.lesson_journal import Entry, Journal, parse_journal
from hypothesis import example, given
from hypothesis import strategies as st

HERE = Path(__file__).parent


def entry(number, kind="good", **changes):
    fields = {
        "id": f"lesson-{number}",
        "camera": "left",
        "kind": kind,
        "at": 1.5 * number,
        "time": "2026-06-01T12:00:00.000Z",
        "who": "Ada",
        "picture": f"left/test/good/lesson-{number}.png",
        "name": "serial 1",
        "width": 160,
        "height": 120,
        "digest": "0" * 32,
        "before": "a",
        "after": "b",
        "patches": 10,
    }
    return Entry(**{**fields, **changes})


LINES = [msgspec.json.encode(entry(number)) + b"\n" for number in range(3)]


def test_what_is_appended_is_read_again(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    written = [entry(1), entry(2, "defect", who="Ö\u2028"), entry(3, "undo", undoes="lesson-1")]
    for each in written:
        journal.append(each)
    journal.close()
    again = Journal(tmp_path / "j.jsonl")
    assert again.entries == written
    assert again.undone() == {"lesson-1"}
    assert [(lesson.id, lesson.undone) for lesson in again.lessons(2)] == [
        ("lesson-3", False),
        ("lesson-2", False),
    ]
    again.close()


@pytest.mark.parametrize("cut", range(1, len(LINES[2]) + 1, 17))
def test_half_a_line_is_cut_off_wherever_it_ends(tmp_path, cut):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b"".join(LINES)[:-cut])
    journal = Journal(path)
    whole = 3 if cut == 1 else 2  # nothing but the line's end is missing
    assert len(journal.entries) == whole
    journal.append(entry(9))
    journal.close()
    assert len(parse_journal(path.read_bytes(), "j")[0]) == whole + 1


def test_what_a_power_cut_leaves_behind_the_last_line(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(LINES[0] + b"\0" * 100)
    journal = Journal(path)
    assert len(journal.entries) == 1
    journal.close()
    assert path.read_bytes() == LINES[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{}\n", "line 2 is damaged"),
        (b"\n", "line 2 is damaged"),
        (LINES[1].replace(b"{", b"\r", 1), "line 2 is damaged"),
        (LINES[1].replace(b'"good"', b'"better"', 1), "line 2 is damaged"),
        (LINES[1].replace(b"left/test", b"../../etc/test"), "line 2 is damaged"),
        (LINES[1].replace(b"left/test", b"../test"), "line 2 is damaged"),
        (LINES[1].replace(b'"schema":1', b'"schema":2'), "newer edgead"),
    ],
)
def test_a_line_that_is_damaged_is_not_passed_over(tmp_path, line, said):
    path = tmp_path / "j.jsonl"
    path.write_bytes(LINES[0] + line + LINES[2])
    with pytest.raises(LearningError, match=said):
        Journal(path)
    assert path.read_bytes() == LINES[0] + line + LINES[2]
    path.unlink()  # it is open no longer


@given(st.binary(max_size=400))
@example(b"[" * 5000)
@example(b"".join(LINES))
def test_whatever_the_bytes_they_are_a_journal_or_an_error_of_ours(data):
    with contextlib.suppress(LearningError):
        entries, end = parse_journal(data, "j")
        assert 0 <= end <= len(data)
        assert parse_journal(data[:end], "j")[0] == entries


@given(st.integers(0, sum(map(len, LINES)) - 1), st.integers(0, 255))
def test_whatever_a_byte_becomes(place, value):
    data = bytearray(b"".join(LINES))
    data[place] = value
    with contextlib.suppress(LearningError):
        entries, _ = parse_journal(bytes(data), "j")
        assert len(entries) >= 2  # what is lost is the last line at most


def _teach_for_ever(folder, bundle):
    """A process that teaches until it is killed, and says each lesson once it has it."""
    code = f"""
        import json, sys
        import numpy as np
        from edgead_runtime import Detector, Encoder, Picture
        from edgead_runtime.streaming.learning import LineLearning
        encoder = Encoder.load({str(bundle)!r}, threads=1)
        detector = Detector.load({str(folder / "part.edgead")!r}, encoder=encoder)
        with LineLearning({{"left": detector}}, {str(folder / "learned")!r}) as learning:
            print(json.dumps({{"begun_with": len(detector.references)}}), flush=True)
            number = 0
            while True:
                number += 1
                frame = np.random.default_rng([number, len(learning.lessons("left"))]).integers(
                    0, 256, (160, 160, 3), dtype=np.uint8)
                lesson = learning.add_good("left", Picture(f"frame {{number}}", frame), "Ada")
                print(json.dumps({{"learned": lesson.id}}), flush=True)
                if number % 3 == 0:
                    undo = learning.undo("left", lesson.id, "Bob")
                    print(json.dumps({{"forgot": lesson.id}}), flush=True)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EDGEAD_ENGINE": "onnxruntime"},
    )


def test_kill_9_takes_nothing_back_that_was_learned_or_forgotten(
    mini_bundle, mini_encoder, good_frames, quick, tmp_path
):
    Detector.enroll(mini_encoder, good_frames[:4], recipe=quick).save(tmp_path / "part.edgead")
    before = (tmp_path / "part.edgead").read_bytes()
    learned, forgotten = set(), set()
    for lines in (5, 9):
        process = _teach_for_ever(tmp_path, mini_bundle)
        begun = json.loads(process.stdout.readline())["begun_with"]
        assert begun >= 4 + len(learned - forgotten)  # at most one more, that was not said any more
        for _ in range(lines):
            said = json.loads(process.stdout.readline())
            learned |= {said["learned"]} if "learned" in said else set()
            forgotten |= {said["forgot"]} if "forgot" in said else set()
        process.send_signal(signal.SIGKILL)
        for rest in process.stdout:  # what was said before it died
            with contextlib.suppress(ValueError):
                said = json.loads(rest)
                learned |= {said["learned"]} if "learned" in said else set()
                forgotten |= {said["forgot"]} if "forgot" in said else set()
        process.wait()
    assert len(learned) >= 6
    assert forgotten
    assert (tmp_path / "part.edgead").read_bytes() == before
    with (
        Detector.load(tmp_path / "part.edgead", encoder=mini_encoder) as detector,
        LineLearning({"left": detector}, tmp_path / "learned") as learning,
    ):
        lessons = {lesson.id: lesson for lesson in learning.lessons("left", limit=1000)}
        good = {each for each, lesson in lessons.items() if lesson.kind == "good"}
        assert learned <= good
        assert len(good - learned) <= 2  # one a process, kept and not said any more
        assert all(lessons[each].undone for each in forgotten)
        known = {lesson.id for lesson in lessons.values() if lesson.kind == "good" and not lesson.undone}
        assert len(detector.references) == 4 + len(known)
        for each in known:
            taught = read_picture(tmp_path / "learned" / "left" / "test" / "good" / f"{each}.png").frame
            assert detector(taught).score < 1e-5
        for each in forgotten:
            assert (tmp_path / "learned" / "left" / "undone" / f"{each}.png").exists()
