"""Lessons at the line: in the bank, on the disk and in the journal, all three or none."""

import errno
import json
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, Picture, stream
from edgead_runtime.cascade import Band, CascadeDetector
from edgead_runtime.detector_identity import detector_fingerprint
from edgead_runtime.errors import (
    ConfigError,
    EnrollmentError,
    FrameSizeError,
    LearningError,
    OutputError,
    PictureError,
)
from edgead_runtime.images import decode_picture, find_pictures, frame_digest, read_picture
from edgead_runtime.siblings import enroll_like
from edgead_runtime.streaming import Camera, Delivery, Stream
from edgead_runtime.streaming import lesson_journal as journal_module
from edgead_runtime.streaming.learning import LineLearning, default_bank_limit
from edgead_runtime.streaming.sinks import JsonLines
from edgead_runtime.streaming.sources import Frames
from edgead_runtime.tiered import TieredDetector
from paced import FakeClock, paced_encoder
from stream_fakes import FakeCamera, wait_until


def picture(frame, name="frame 1"):
    return Picture(name, frame)


@pytest.fixture
def odd(part):
    """A good part of a sort of its own, by number."""

    def make(number):
        noise = np.random.default_rng(number).normal(0, 40, (160, 160, 3))
        return np.clip(part(number) + noise, 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def enrolled(mini_encoder, good_frames, quick):
    """The detector as its file has it, each time anew."""
    made = Detector.enroll(mini_encoder, good_frames[:4], recipe=quick)

    def anew(**changes):
        if changes:
            return Detector.enroll(mini_encoder, good_frames[:4], recipe=quick.with_(**changes))
        return Detector(made._pipeline, made._state.memory, made.calibration)

    return anew


def scores(detector, frames):
    return [detector(frame).score for frame in frames]


def digests(detector):
    return [reference.digest for reference in detector.references]


# -- one lesson ----------------------------------------------------------------------------------------


def test_a_good_part_is_known_from_the_next_frame_on_and_kept_without_loss(enrolled, odd, tmp_path):
    detector, frame = enrolled(), odd(1)
    before = detector(frame)
    assert before.is_anomaly
    with LineLearning({"left": detector}, tmp_path) as learning:
        lesson = learning.add_good("left", picture(frame, "serial 12"), "Ada")
        after = detector(frame)
        assert after.score < 1e-5
        assert not after.is_anomaly
        assert (lesson.kind, lesson.camera, lesson.who, lesson.picture) == (
            "good",
            "left",
            "Ada",
            "serial 12",
        )
        assert learning.lessons("left") == [lesson]
    kept = tmp_path / "left" / "test" / "good" / f"{lesson.id}.png"
    assert np.array_equal(read_picture(kept).frame, frame)
    (line,) = (tmp_path / "left" / "lessons.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["digest"] == frame_digest(frame)
    assert (entry["width"], entry["height"], entry["name"]) == (160, 160, "serial 12")
    assert entry["picture"] == f"left/test/good/{lesson.id}.png"
    assert entry["before"] == detector_fingerprint(enrolled())
    assert entry["after"] == detector_fingerprint(detector) != entry["before"]


def test_what_is_left_is_a_data_set(enrolled, odd, good_frames, tmp_path):
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path) as learning:
        good = learning.add_good("left", picture(odd(1)), "Ada")
        bad = learning.keep_defect("left", picture(odd(2)), "Ada")
        taken_back = learning.keep_defect("left", picture(odd(3)), "Ada")
        learning.undo("left", taken_back.id, "Ada")
    root = tmp_path / "left"
    assert [path.stem for path in find_pictures([root / "test" / "good"])] == [good.id]
    assert [path.stem for path in find_pictures([root / "test" / "defect"])] == [bad.id]
    assert [path.stem for path in find_pictures([root / "undone"])] == [taken_back.id]
    enrolment = [read_picture(path).frame for path in find_pictures([root / "train" / "good"])]
    assert all(np.array_equal(one, two) for one, two in zip(enrolment, good_frames[:4], strict=True))


def test_a_defect_leaves_the_detector_as_it_is(enrolled, defective, tmp_path):
    detector = enrolled()
    before, state = detector_fingerprint(detector), detector.state
    with LineLearning({"left": detector}, tmp_path) as learning:
        lesson = learning.keep_defect("left", picture(defective.frame), "Ada")
    assert detector.state is state
    entry = json.loads((tmp_path / "left" / "lessons.jsonl").read_text())
    assert (lesson.kind, entry["before"], entry["after"]) == ("defect", before, before)
    assert not (tmp_path / "left" / "learned.edgead").exists()


def test_what_was_learned_can_be_taken_over_as_a_file(enrolled, odd, mini_encoder, tmp_path):
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path) as learning:
        lesson = learning.add_good("left", picture(odd(1)), "Ada")
    path = tmp_path / "left" / "learned.edgead"
    with Detector.load(path, encoder=mini_encoder) as taken_over:
        assert detector_fingerprint(taken_over) == detector_fingerprint(detector)
        # It knows the lesson already, and forgets it when it is undone.
        with LineLearning({"left": taken_over}, tmp_path) as learning:
            assert digests(taken_over) == digests(detector)
            learning.undo("left", lesson.id, "Ada")
            assert digests(taken_over) == digests(enrolled())
    with Detector.load(path, encoder=mini_encoder) as written, LineLearning({"left": written}, tmp_path):
        assert digests(written) == digests(enrolled())


def test_a_lesson_undone_in_a_run_that_was_killed_is_in_no_file_after_the_next(
    enrolled, odd, mini_encoder, tmp_path
):
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        lesson = learning.add_good("left", picture(odd(1)), "Ada")
    path = tmp_path / "left" / "learned.edgead"
    old = path.read_bytes()
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        learning.undo("left", lesson.id, "Ada")
    path.write_bytes(old)  # as a run leaves it that did not come to its end
    with LineLearning({"left": enrolled()}, tmp_path):
        pass
    with Detector.load(path, encoder=mini_encoder) as written:
        assert digests(written) == digests(enrolled())


def test_a_threshold_that_was_moved_for_a_moment_is_in_no_file(enrolled, odd, mini_encoder, tmp_path):
    detector = enrolled()
    calibrated = detector.calibration
    with LineLearning({"left": detector}, tmp_path) as learning:
        learning.add_good("left", picture(odd(1)), "Ada")
        detector.set_threshold(0.9)
    assert detector.threshold == 0.9  # this one goes on as it was
    with Detector.load(tmp_path / "left" / "learned.edgead", encoder=mini_encoder) as written:
        assert written.calibration == calibrated


def test_a_file_that_was_taken_over_before_the_undo_forgets_it_at_the_next_start(enrolled, odd, tmp_path):
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        learning.undo("left", learning.add_good("left", picture(odd(1)), "Ada").id, "Ada")
    stale = enrolled()
    stale.add_good(odd(1))
    with LineLearning({"left": stale}, tmp_path):
        assert digests(stale) == digests(enrolled())


# -- what is refused -----------------------------------------------------------------------------------


def test_refusals_leave_no_trace(enrolled, odd, good_frames, tmp_path):
    detector = enrolled()
    small = np.ascontiguousarray(odd(1)[:100])
    with LineLearning({"left": detector}, tmp_path) as learning:
        lesson = learning.add_good("left", picture(odd(1)), "Ada")
        kept, state = sorted((tmp_path / "left" / "test").rglob("*.png")), detector.state
        for teach, frame, error, said in (
            (learning.add_good, good_frames[0], EnrollmentError, "are the same picture"),
            (learning.add_good, odd(1), LearningError, f"taught as good already .lesson {lesson.id}"),
            (learning.keep_defect, odd(1), LearningError, "taught as good already"),
            (learning.add_good, small, FrameSizeError, "the good pictures are 160 x 160"),
            (learning.add_good, np.zeros((40, 40), np.uint8), PictureError, "uint8 array"),
        ):
            with pytest.raises(error, match=said):
                teach("left", picture(frame), "Ada")
        with pytest.raises(LearningError, match="no camera right learns"):
            learning.add_good("right", picture(odd(2)), "Ada")
        assert detector.state is state
        assert sorted((tmp_path / "left" / "test").rglob("*.png")) == kept
        assert len(learning.lessons("left")) == 1


def test_undo_refuses_what_cannot_be_undone(enrolled, odd, tmp_path):
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        lesson = learning.add_good("left", picture(odd(1)), "Ada")
        undo = learning.undo("left", lesson.id, "Bob")
        assert (undo.kind, undo.undoes, undo.who) == ("undo", lesson.id, "Bob")
        for lesson_id, said in (
            (lesson.id, "already"),
            (undo.id, "took a lesson back"),
            ("x", "no lesson x"),
        ):
            with pytest.raises(LearningError, match=said):
                learning.undo("left", lesson_id, "Ada")
        assert [(one.id, one.undone) for one in learning.lessons("left")] == [
            (undo.id, False),
            (lesson.id, True),
        ]
        again = learning.add_good("left", picture(odd(1)), "Ada")  # it was right after all
        assert again.id != lesson.id
        assert len(learning.lessons("left", limit=2)) == 2
        assert learning.lessons("left", limit=0) == []


def test_one_folder_is_for_one_process_and_one_detector_for_one_camera(enrolled, tmp_path):
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path), pytest.raises(LearningError, match="another process"):
        LineLearning({"left": enrolled()}, tmp_path).open()
    with pytest.raises(ConfigError, match="share a detector"):
        LineLearning({"left": detector, "right": detector}, tmp_path)
    for name in ("..", "a/b", ""):
        with pytest.raises(ConfigError, match="no name for a folder"):
            LineLearning({name: detector}, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        LineLearning({"left": detector}, tmp_path / "file").open()


# -- undo in any order ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"coreset": 0.25},
        {"coreset": 30.0},
        {"merge_within": 0.3},
        {"rotations_deg": (0.0, 180.0)},
        {"head": "subspace", "subspace_components": 4},
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_undone_in_any_order_the_bank_is_as_if_it_had_never_been(
    enrolled, odd, part, order, changes, tmp_path
):
    detector, frames = enrolled(**changes), [odd(number) for number in range(10, 14)]
    probes = [*frames, part(70)]
    with LineLearning({"left": detector}, tmp_path) as learning:
        lessons = [learning.add_good("left", picture(frame), "Ada") for frame in frames]
        left = list(range(4))
        for undone in order:
            learning.undo("left", lessons[undone].id, "Ada")
            left.remove(undone)
            expected = enrolled(**changes)
            for number in left:
                expected.add_good(frames[number])
            assert scores(detector, probes) == pytest.approx(scores(expected, probes), abs=1e-6)
            assert detector.rows == expected.rows
            assert detector_fingerprint(detector) == detector_fingerprint(expected)


def test_with_a_frame_graph_too(fused_bundle, good_frames, odd, quick, tmp_path):
    with Encoder.load(fused_bundle, engine="onnxruntime", threads=1) as encoder:
        detector = Detector.enroll(encoder, good_frames[:4], recipe=quick)
        frames = [odd(number) for number in range(10, 13)]
        assert "frame" in detector(frames[0]).timings_ms
        before = scores(detector, frames)
        with LineLearning({"left": detector}, tmp_path) as learning:
            lessons = [learning.add_good("left", picture(frame), "Ada") for frame in frames]
            learning.undo("left", lessons[0].id, "Ada")
            known = scores(detector, frames)
            assert known[0] > 0.5 * before[0]
            assert max(known[1:]) < 1e-5
            learning.undo("left", lessons[2].id, "Ada")
            learning.undo("left", lessons[1].id, "Ada")
        assert scores(detector, frames) == pytest.approx(before, abs=1e-6)


def test_a_detector_with_faster_settings_learns_and_forgets_in_all_of_them(
    mini_bundle, build_bundle, good_frames, odd, quick, tmp_path
):
    clock = FakeClock()
    full = Detector.enroll(paced_encoder(mini_bundle, clock, 25.0)[0], good_frames[:4], recipe=quick)
    small_encoder, _ = paced_encoder(build_bundle(tmp_path / "s", height=70, width=70), clock, 8.0)
    small = enroll_like(full, small_encoder)
    scales = {small.fingerprint: (small.scale, small.map_scale)}
    detector = TieredDetector(full, [small.detector], 33.0, scales=scales, clock=clock)
    settings = (lambda frame: Detector.__call__(detector, frame), small.detector)
    before = [look(odd(1)).score for look in settings]
    with LineLearning({"left": detector}, tmp_path / "learned") as learning:
        lessons = [learning.add_good("left", picture(odd(number)), "Ada") for number in (1, 2)]
        assert [look(odd(1)).score for look in settings] == pytest.approx([0, 0], abs=1e-5)
        learning.undo("left", lessons[0].id, "Ada")
        assert [look(odd(2)).score for look in settings] == pytest.approx([0, 0], abs=1e-5)
        assert all(look(odd(1)).score > 0.01 for look in settings)
        learning.undo("left", lessons[1].id, "Ada")
    assert [look(odd(1)).score for look in settings] == pytest.approx(before, abs=1e-6)


# -- over restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"coreset": 0.5}])
def test_what_counts_is_learned_again_at_a_start(enrolled, odd, part, changes, tmp_path):
    first = enrolled(**changes)
    frames = [odd(number) for number in range(4)]
    with LineLearning({"left": first}, tmp_path) as learning:
        lessons = [learning.add_good("left", picture(frame), "Ada") for frame in frames]
        learning.undo("left", lessons[1].id, "Ada")
        listed = learning.lessons("left")
    again = enrolled(**changes)
    with LineLearning({"left": again}, tmp_path) as learning:
        assert learning.lessons("left") == listed
        assert learning.not_learned("left") == {}
        assert digests(again) == digests(first)
        assert scores(again, [*frames, part(70)]) == pytest.approx(
            scores(first, [*frames, part(70)]), abs=1e-6
        )
        learning.undo("left", lessons[0].id, "Bob")
        assert again(frames[0]).is_anomaly


def test_the_users_file_is_never_written(enrolled, odd, mini_encoder, tmp_path):
    enrolled().save(tmp_path / "part.edgead")
    before = (tmp_path / "part.edgead").read_bytes()
    with (
        Detector.load(tmp_path / "part.edgead", encoder=mini_encoder) as detector,
        LineLearning({"left": detector}, tmp_path / "learned") as learning,
    ):
        learning.add_good("left", picture(odd(1)), "Ada")
    assert (tmp_path / "part.edgead").read_bytes() == before


def test_lessons_go_on_with_a_detector_that_was_enrolled_anew(
    enrolled, odd, good_frames, mini_encoder, quick, tmp_path
):
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        lessons = [learning.add_good("left", picture(odd(number)), "Ada") for number in (1, 2)]
    anew = Detector.enroll(mini_encoder, [*good_frames[:3], odd(1)], recipe=quick)
    with LineLearning({"left": anew}, tmp_path) as learning:
        assert len(anew.references) == 5  # the first lesson is among those of enrolment now
        with pytest.raises(LearningError, match="among those of enrolment"):
            learning.undo("left", lessons[0].id, "Ada")
        learning.undo("left", lessons[1].id, "Ada")
        assert len(anew.references) == 4


def test_a_picture_that_is_gone_or_changed_is_said(enrolled, odd, tmp_path, caplog):
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        lessons = [learning.add_good("left", picture(odd(number)), "Ada") for number in (1, 2, 3)]
    folder = tmp_path / "left" / "test" / "good"
    (folder / f"{lessons[0].id}.png").unlink()
    (folder / f"{lessons[1].id}.png").write_bytes((folder / f"{lessons[2].id}.png").read_bytes())
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path) as learning:
        assert set(learning.not_learned("left")) == {lessons[0].id, lessons[1].id}
        assert "is not the picture that was taught" in learning.not_learned("left")[lessons[1].id]
        assert len(detector.references) == 5
        assert caplog.text.count("is not in the bank") == 2
        learning.undo("left", lessons[0].id, "Ada")
        assert set(learning.not_learned("left")) == {lessons[1].id}


def test_a_crash_between_journal_and_folder_is_mended(enrolled, odd, tmp_path, monkeypatch):
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        lesson = learning.add_good("left", picture(odd(1)), "Ada")
        monkeypatch.setattr(learning._cameras["left"]._pictures, "set_aside", lambda relative: None)
        learning.undo("left", lesson.id, "Ada")
    assert (tmp_path / "left" / "test" / "good" / f"{lesson.id}.png").exists()
    with LineLearning({"left": enrolled()}, tmp_path):
        assert not (tmp_path / "left" / "test" / "good" / f"{lesson.id}.png").exists()
        assert (tmp_path / "left" / "undone" / f"{lesson.id}.png").exists()


def test_who_does_not_want_to_wait_ends_it_between_two_lessons(enrolled, odd, mini_encoder, tmp_path):
    with LineLearning({"left": enrolled()}, tmp_path) as learning:
        for number in range(4):
            learning.add_good("left", picture(odd(number)), "Ada")
    path = tmp_path / "left" / "learned.edgead"
    whole = path.read_bytes()
    heard = []

    def so_far(camera, done, total):
        heard.append((camera, done, total))
        if done == 2:
            raise TimeoutError

    stopped = enrolled()
    with pytest.raises(TimeoutError):
        LineLearning({"left": stopped}, tmp_path, so_far=so_far).open()
    assert heard == [("left", 0, 4), ("left", 1, 4), ("left", 2, 4)]
    assert len(stopped.references) == 6
    assert path.read_bytes() == whole  # what knows half of it is left behind nowhere
    heard.clear()
    again = enrolled()
    with LineLearning({"left": again}, tmp_path, so_far=lambda *told: heard.append(told)):
        assert len(again.references) == 8
    assert heard == [("left", done, 4) for done in range(5)]


# -- disks ---------------------------------------------------------------------------------------------


def test_beyond_the_quota_undone_pictures_go_and_then_lessons_are_refused(enrolled, odd, tmp_path):
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path / "a") as learning:
        learning.add_good("left", picture(odd(1)), "Ada")
        (path,) = (tmp_path / "a" / "left" / "test" / "good").iterdir()
        one_mb = path.stat().st_size / 1e6
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path / "b", max_mb=3.5 * one_mb) as learning:
        undone = learning.add_good("left", picture(odd(1)), "Ada")
        learning.undo("left", undone.id, "Ada")
        for number in (2, 3):
            learning.add_good("left", picture(odd(number)), "Ada")
        assert (tmp_path / "b" / "left" / "undone" / f"{undone.id}.png").exists()
        learning.keep_defect("left", picture(odd(4)), "Ada")
        assert not (tmp_path / "b" / "left" / "undone" / f"{undone.id}.png").exists()
        state, listed = detector.state, learning.lessons("left")
        for teach in (learning.add_good, learning.keep_defect):
            with pytest.raises(LearningError, match="is full") as caught:
                teach("left", picture(odd(5)), "Ada")
        assert "max_mb" in caught.value.remedy
        assert detector.state is state
        assert learning.lessons("left") == listed
    again = enrolled()
    with LineLearning({"left": again}, tmp_path / "b", max_mb=3.5 * one_mb):
        assert digests(again) == digests(detector)


@pytest.fixture
def full_disk(monkeypatch):
    """Nothing can be appended to a journal while ``full_disk.now`` is set."""
    disk = SimpleNamespace(now=False)
    write = journal_module.Journal._write

    def write_some(self, data):
        if disk.now:
            self._file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    monkeypatch.setattr(journal_module.Journal, "_write", write_some)
    return disk


@pytest.mark.parametrize("changes", [{}, {"coreset": 0.5}])
def test_what_cannot_be_kept_is_not_learned(enrolled, odd, full_disk, changes, tmp_path):
    detector = enrolled(**changes)
    journal = tmp_path / "left" / "lessons.jsonl"
    with LineLearning({"left": detector}, tmp_path) as learning:
        first = learning.add_good("left", picture(odd(1)), "Ada")
        before, lines = detector_fingerprint(detector), journal.read_bytes()
        full_disk.now = True
        for teach in (learning.add_good, learning.keep_defect):
            with pytest.raises(OutputError, match="the disk is full"):
                teach("left", picture(odd(2)), "Ada")
        with pytest.raises(OutputError, match="the disk is full"):
            learning.undo("left", first.id, "Ada")
        assert detector_fingerprint(detector) == before
        assert not detector(odd(1)).is_anomaly
        assert journal.read_bytes() == lines
        assert len(list((tmp_path / "left" / "test").rglob("*.png"))) == 1
        full_disk.now = False
        learning.undo("left", first.id, "Ada")
        learning.add_good("left", picture(odd(2)), "Ada")
    again = enrolled(**changes)
    with LineLearning({"left": again}, tmp_path):
        assert digests(again) == digests(detector)


def test_a_folder_that_cannot_be_written_is_said(enrolled, odd, tmp_path, monkeypatch):
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path) as learning:
        (tmp_path / "left" / "test").write_text("in the way")
        with pytest.raises(OutputError):
            learning.add_good("left", picture(odd(1)), "Ada")
        assert digests(detector) == digests(enrolled())


def test_an_engine_that_fails_learns_nothing(enrolled, odd, tmp_path, monkeypatch):
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path) as learning:
        monkeypatch.setattr(
            detector, "add_good", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA says no"))
        )
        with pytest.raises(LearningError, match="CUDA says no"):
            learning.add_good("left", picture(odd(1)), "Ada")
        assert learning.lessons("left") == []
        assert not list((tmp_path / "left" / "test").rglob("*.png"))


# -- how large a bank may become -----------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"head": "subspace", "subspace_components": 4}])
def test_a_bank_without_a_coreset_is_full_at_its_limit(enrolled, odd, changes, tmp_path):
    detector = enrolled(**changes)
    limit = (4 + 2) * 64
    with LineLearning({"left": detector}, tmp_path, bank_limit=limit) as learning:
        for number in (1, 2):
            learning.add_good("left", picture(odd(number)), "Ada")
        with pytest.raises(EnrollmentError, match=f"the bank is full: .* limit is {limit}") as caught:
            learning.add_good("left", picture(odd(3)), "Ada")
        assert "bank_limit" in caught.value.remedy
        learning.undo("left", learning.lessons("left")[1].id, "Ada")
        learning.add_good("left", picture(odd(3)), "Ada")
        assert len(detector.references) == 6
        assert detector.rows == (0 if changes else limit)  # a subspace keeps none, and sums them up


@pytest.mark.parametrize("changes", [{"coreset": 0.5}, {"merge_within": 0.2}])
def test_a_coreset_is_thinned_to_its_limit_and_keeps_its_guarantee(enrolled, odd, changes, tmp_path):
    detector, whole = enrolled(**changes), enrolled()
    enrolled_rows = detector.rows
    limit = enrolled_rows + 100
    with LineLearning({"left": detector}, tmp_path, bank_limit=limit) as learning:
        for number in range(6):
            learning.add_good("left", picture(odd(number)), "Ada")
            whole.add_good(odd(number))
            assert enrolled_rows < detector.rows <= limit
            (record,) = detector.coreset
            kept = np.concatenate([reference.tokens[0] for reference in detector.references])
            seen = np.concatenate([reference.tokens[0] for reference in whole.references])
            farthest = np.sqrt(2 * np.clip(1 - (seen @ kept.T).max(axis=1), 0, 2)).max()
            assert farthest <= record.radius + 1e-3
    detector = enrolled(**changes)
    with (
        LineLearning({"left": detector}, tmp_path / "none", bank_limit=enrolled_rows) as learning,
        pytest.raises(EnrollmentError, match="leave no room below"),
    ):
        learning.add_good("left", picture(odd(1)), "Ada")


@pytest.mark.parametrize("several", ["tiers", "cascade"])
def test_the_limit_binds_every_setting(mini_bundle, build_bundle, good_frames, odd, quick, several, tmp_path):
    """The one that looks first has the more patches here."""
    clock = FakeClock()
    full = Detector.enroll(paced_encoder(mini_bundle, clock, 25.0)[0], good_frames[:4], recipe=quick)
    other = enroll_like(full, paced_encoder(build_bundle(tmp_path / "s", height=168, width=168), clock, 8)[0])
    if several == "tiers":
        scales = {other.fingerprint: (other.scale, other.map_scale)}
        detector = TieredDetector(full, [other.detector], 33.0, scales=scales, clock=clock)
    else:
        detector = CascadeDetector(full, other, Band(0.5, 2.0))
    assert (full.rows, other.detector.rows) == (256, 576)
    with LineLearning({"left": detector}, tmp_path / "learned", bank_limit=800) as learning:
        assert detector.bank_limit == other.detector.bank_limit == 800
        learning.add_good("left", picture(odd(1)), "Ada")
        with pytest.raises(EnrollmentError, match="it would have 864 patches, and its limit is 800"):
            learning.add_good("left", picture(odd(2)), "Ada")
        assert (detector.rows, other.detector.rows) == (320, 720)
        assert len(learning.lessons("left")) == 1
        assert digests(detector) == digests(other.detector)


def test_the_limit_by_default(enrolled):
    detector = enrolled()
    assert default_bank_limit(detector) == 65_536
    rows = np.zeros((50_000, 16), np.float32)
    large = SimpleNamespace(references=[SimpleNamespace(added="enrollment", tokens=(rows,))])
    assert default_bank_limit(large) == 100_000


# -- beside frames -------------------------------------------------------------------------------------


def test_each_result_is_of_a_bank_that_there_was(enrolled, odd, defective, tmp_path):
    """Never of a mixture: a probe that was taught scores 0, or what it scored without."""
    detector, probe, other = enrolled(), odd(1), odd(2)
    allowed = {round(enrolled()(probe).score, 6)}
    for taught in ([probe], [other], [other, probe]):
        bank = enrolled()
        for frame in taught:
            bank.add_good(frame)
        allowed.add(round(bank(probe).score, 6))
    done = threading.Event()

    def teach():
        with LineLearning({"camera": detector}, tmp_path) as learning:
            for _ in range(12):
                first = learning.add_good("camera", picture(other), "Ada")
                second = learning.add_good("camera", picture(probe), "Bob")
                learning.undo("camera", first.id, "Ada")
                learning.undo("camera", second.id, "Bob")
        done.set()

    camera = FakeCamera([[probe.copy() for _ in range(20_000)]], period_s=0.0)
    running = stream(detector, camera)
    teacher = threading.Thread(target=teach)
    teacher.start()
    seen = set()
    for result in running:
        seen.add(round(result.score, 6))
        if done.is_set():
            break
    teacher.join()
    running.close()
    assert seen <= allowed
    assert len(seen) >= 2


def test_many_teachers_at_once(enrolled, odd, tmp_path):
    detector = enrolled()
    with LineLearning({"left": detector}, tmp_path) as learning:
        threads = [
            threading.Thread(target=learning.add_good, args=("left", picture(odd(number)), f"p{number}"))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({lesson.id for lesson in learning.lessons("left")}) == 8
        assert len(detector.references) == 12


def test_cameras_that_share_an_encoder_learn_each_for_itself(enrolled, odd, tmp_path):
    left, right = enrolled(), enrolled()
    assert left.encoder is right.encoder
    cameras = [Camera(name, one, Frames([odd(1)] * 3)) for name, one in (("left", left), ("right", right))]
    with LineLearning({"left": left, "right": right}, tmp_path) as learning:
        learning.add_good("left", picture(odd(1)), "Ada")
        verdicts = {(result.camera, result.is_anomaly) for result in Stream(cameras)}
        assert verdicts == {("left", False), ("right", True)}
        assert learning.lessons("right") == []


# -- told ----------------------------------------------------------------------------------------------


def test_each_lesson_reaches_the_sinks(enrolled, odd, tmp_path):
    path = tmp_path / "e.jsonl"
    with Delivery([JsonLines(path)], outbox=tmp_path / "o.db") as delivery:
        with LineLearning({"left": enrolled()}, tmp_path / "l", tell=delivery.on_message) as learning:
            good = learning.add_good("left", picture(odd(1), "serial 1"), "Ada")
            defect = learning.keep_defect("left", picture(odd(2)), "")
            undo = learning.undo("left", good.id, "Bob\n")
        delivery.flush()
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["kind"], one["lesson"], one["id"], one["state"]) for one in told] == [
        ("learned", "good", good.id, "closed"),
        ("learned", "defect", defect.id, "closed"),
        ("unlearned", "undo", undo.id, "closed"),
    ]
    assert told[0]["text"] == "taught as good by Ada"
    assert told[0]["attachments"] == ["picture.jpg"]
    assert told[1]["text"] == "kept as a defect by nobody named"
    assert (told[2]["undoes"], told[2]["who"]) == (good.id, "Bob")
    assert told[2]["detector_after"] == told[0]["detector_before"]


def test_who_listens_cannot_undo_a_lesson(enrolled, odd, tmp_path, caplog):
    def broken(message):
        raise RuntimeError("no")

    with LineLearning({"left": enrolled()}, tmp_path, tell=broken) as learning:
        learning.add_good("left", picture(odd(1)), "Ada")
        assert len(learning.lessons("left")) == 1
    assert "could not be told" in caplog.text


def test_the_message_shows_the_picture(enrolled, odd, tmp_path):
    heard = []
    with LineLearning({"left": enrolled()}, tmp_path, tell=heard.append) as learning:
        learning.add_good("left", picture(odd(1)), "Ada")
    shown = decode_picture(heard[0].attachments["picture.jpg"](), "p.jpg").frame
    assert shown.shape == (160, 160, 3)


def test_a_slow_lesson_does_not_keep_others_from_reading(enrolled, odd, tmp_path, monkeypatch):
    detector, go = enrolled(), threading.Event()
    learn = detector.add_good
    monkeypatch.setattr(detector, "add_good", lambda *given: (go.wait(10), learn(*given))[1])
    with LineLearning({"left": detector}, tmp_path) as learning:
        teaching = threading.Thread(target=learning.add_good, args=("left", picture(odd(1)), "Ada"))
        teaching.start()
        assert learning.lessons("left") == []
        go.set()
        teaching.join()
        wait_until(lambda: len(learning.lessons("left")) == 1)
