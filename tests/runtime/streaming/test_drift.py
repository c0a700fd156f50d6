"""Drift: what is measured of a frame, when it is too much, and how it is told."""

import functools
import itertools
import json
import logging
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from edgead_export.parity import parity_pictures
from edgead_runtime import Detector, stream
from edgead_runtime.errors import ConfigError
from edgead_runtime.siblings import enroll_like
from edgead_runtime.streaming import Delivery, Drift, DriftSettings
from edgead_runtime.streaming.drift import Baseline, strain
from edgead_runtime.streaming.drift.alarm import Alarm
from edgead_runtime.streaming.drift.baseline import Range
from edgead_runtime.streaming.drift.looking import look_at, sharpness_of
from edgead_runtime.streaming.drift.position import (
    FRAMES_A_VOTE,
    VOTES,
    Place,
    PositionWatch,
    border_window,
    shift_between,
)
from edgead_runtime.streaming.drift.recent import RecentQuantiles
from edgead_runtime.streaming.drift.watch import DriftWatch
from edgead_runtime.streaming.drift.words import why, why_moved
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.sinks import JsonLines, Metrics
from edgead_runtime.tiered import TieredDetector
from hypothesis import given
from hypothesis import strategies as st
from paced import FakeClock, paced_encoder
from stream_fakes import Recorder, result_of

AT_ONCE = DriftSettings(for_s=0, window=40)
NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


@functools.cache
def _noise(number, shape):
    return np.random.default_rng(number).normal(0, 1.5, shape).round().astype(np.int16)


def noisy(frame, number):
    return np.clip(frame + _noise(number % 7, frame.shape), 0, 255).astype(np.uint8)


def moved(frame, right=0.0, down=0.0):
    height, width = frame.shape[:2]
    shift = np.array([[1, 0, right * width], [0, 1, down * height]], np.float32)
    return cv2.warpAffine(frame, shift, (width, height), borderMode=cv2.BORDER_REFLECT)


def darker(frame):
    return (frame * 0.6).astype(np.uint8)


def blurred(frame):
    return cv2.GaussianBlur(frame, (0, 0), 2 * max(frame.shape[:2]) / 448)


@pytest.fixture(scope="module")
def scenes():
    """Real photographs: one that is always there, and crops of the others in its middle, turned."""
    pictures = [picture.frame for picture in parity_pictures()]
    base = cv2.resize(pictures[0], (320, 320), interpolation=cv2.INTER_AREA)
    made = []
    for number, other in enumerate(itertools.islice(itertools.cycle(pictures[1:]), 12)):
        scene = base.copy()
        scene[80:240, 80:240] = np.rot90(cv2.resize(other, (160, 160), interpolation=cv2.INTER_AREA), number)
        made.append(scene)
    return made


# -- quantiles -----------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 1), st.integers(1, 20))
def test_quantiles_are_those_of_the_last_values_exactly(values, share, size):
    recent = RecentQuantiles(size)
    for value in values:
        recent.add(value)
    last = values[-size:]
    assert len(recent) == len(last)
    assert recent.quantile(share) == pytest.approx(np.quantile(last, share), rel=1e-9, abs=1e-6)


def test_no_value_no_quantile():
    with pytest.raises(ValueError, match="no value"):
        _ = RecentQuantiles(3).median


# -- looking -------------------------------------------------------------------------------------------


def test_sharpness_sees_blur_and_neither_contrast_nor_brightness(scenes):
    grey = cv2.cvtColor(scenes[0], cv2.COLOR_BGR2GRAY)
    sharp = sharpness_of(grey)
    low_contrast = (90 + (grey.astype(np.float32) - 90) * 0.5).astype(np.uint8)
    assert sharpness_of(low_contrast) == pytest.approx(sharp, rel=0.1)
    assert sharpness_of((grey * 0.6).astype(np.uint8)) == pytest.approx(sharp, rel=0.1)
    assert sharpness_of(cv2.GaussianBlur(grey, (0, 0), 1.5)) < 0.4 * sharp
    # The usual measure would call the pale picture out of focus.
    usual = [cv2.Laplacian(each, cv2.CV_64F).var() for each in (grey, low_contrast)]
    assert usual[1] < 0.35 * usual[0]


def test_a_frame_without_contrast_has_no_sharpness_and_a_place_nowhere():
    look = look_at(np.full((200, 300, 3), 80, np.uint8))
    assert (look.brightness, look.sharpness) == (80, 0)
    assert np.isfinite(look.small).all()


@pytest.mark.parametrize("size", [(64, 48), (300, 300), (480, 640), (1100, 700)])
def test_every_size_becomes_the_same_small_copy(size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert look_at(frame).small.shape == (128, 128)
    assert look_at(frame).brightness == pytest.approx(127, abs=3)


# -- the camera's place --------------------------------------------------------------------------------


def smalls_of(frames):
    return [look_at(frame).small for frame in frames]


@pytest.mark.parametrize("shift", [(0.05, 0.0), (-0.03, 0.0), (0.0, 0.04), (0.03, -0.02)])
def test_a_shift_is_to_the_right_and_down(scenes, shift):
    one, other = smalls_of([scenes[0], moved(scenes[0], *shift)])
    found, response = shift_between(one, other, border_window())
    assert found == pytest.approx(shift, abs=0.002)
    assert response > 0.3


def test_a_moved_camera_is_agreed_on_whatever_the_parts(scenes):
    place, why_not = Place.of(smalls_of(scenes[:6]))
    assert place is not None, why_not
    watch = PositionWatch(place)
    for number in range(60):
        watch.add(look_at(noisy(scenes[6 + number % 6], number)).small)
    assert watch.shift == pytest.approx((0, 0), abs=0.003)
    for number in range(FRAMES_A_VOTE * VOTES):
        watch.add(look_at(noisy(moved(scenes[6 + number % 6], 0.05), number)).small)
    assert watch.shift == pytest.approx((0.05, 0), abs=0.004)


def test_parts_that_are_absent_or_turned_do_not_move_the_camera(scenes):
    place, _ = Place.of(smalls_of(scenes[:6]))
    watch = PositionWatch(place)
    empty = scenes[0].copy()
    empty[80:240, 80:240] = 128
    for number in range(FRAMES_A_VOTE * VOTES):
        frame = scenes[6 + number % 6].copy()
        frame[80:240, 80:240] = np.rot90(frame[80:240, 80:240], number % 3)
        watch.add(look_at(noisy(empty if number % 2 else frame, number)).small)
    assert watch.shift == pytest.approx((0, 0), abs=0.003)


def test_where_good_pictures_do_not_lie_over_each_other_nobody_watches(scenes):
    apart = [moved(np.rot90(scene, n).copy(), 0.07 * n, -0.05 * n) for n, scene in enumerate(scenes[:4])]
    place, reason = Place.of(smalls_of(apart))
    assert place is None
    assert "do not lie over each other" in reason
    assert Place.of(smalls_of(scenes[:1]))[0] is None


def test_what_has_nothing_in_common_is_no_vote(scenes):
    place, _ = Place.of(smalls_of(scenes[:6]))
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    watch = PositionWatch(place)
    for number in range(FRAMES_A_VOTE * VOTES):
        watch.add(look_at(noisy(noise, number)).small)
    assert watch.shift is None


# -- what is too much ----------------------------------------------------------------------------------


def test_strain_is_zero_inside_the_range_and_one_at_the_limit():
    enrolled = Range.of([100.0] * 8)
    allowed = 0.15 * (1 + 1 / 64)
    assert strain.of_range("brightness", 100, enrolled, 0.15) == 0
    assert strain.of_range("brightness", 100 * (1 - allowed), enrolled, 0.15) == pytest.approx(1)
    assert strain.of_range("brightness", 100 / (1 - allowed), enrolled, 0.15) == pytest.approx(1)
    assert strain.of_range("brightness", 60, enrolled, 0.15) > 2
    alone = Range.of([100.0])
    assert strain.of_range("brightness", 71, alone, 0.15) < 1 < strain.of_range("brightness", 69, alone, 0.15)


def test_two_grey_levels_of_a_black_frame_are_no_drift():
    assert strain.of_range("brightness", 1, Range.of([2.5] * 5), 0.15) == 0


def test_scores_of_a_part_at_rest_say_nothing():
    enrolled = Range.of([0.20, 0.22, 0.24, 0.26, 0.28, 0.30])
    at_rest, higher, usual = RecentQuantiles(50), RecentQuantiles(50), RecentQuantiles(50)
    for number in range(50):
        at_rest.add(0.33 + 1e-4 * (number % 7))
        higher.add(0.30 + 0.002 * (number % 30))
        usual.add(0.21 + 0.002 * (number % 30))
    assert strain.of_scores(at_rest, enrolled, 0.25) is None
    assert strain.of_scores(higher, enrolled, 0.25) > 1
    assert strain.of_scores(usual, enrolled, 0.25) == 0


def test_an_alert_opens_after_its_time_and_closes_below_its_limit_after_as_much():
    alarm = Alarm(for_s=60, close_ratio=0.8)
    turns = {}
    course = [(0, 0.5), (10, 1.2), (40, 1.1), (50, 0.9), (60, 1.5), (100, 1.5), (119, 1.5), (120, 1.5)]
    course += [
        (130, 0.9),
        (200, 0.9),
        (210, 0.7),
        (260, None),
        (265, 0.9),
        (270, 0.7),
        (329, 0.7),
        (330, 0.1),
    ]
    for at_s, level in course:
        if turn := alarm.observe(at_s, level):
            turns[at_s] = turn
    assert turns == {120: "opened", 330: "closed"}
    assert not alarm.is_open


@pytest.mark.parametrize(
    "settings", [{"brightness": -0.1}, {"position": 0.5}, {"window": 5}, {"for_s": -1}, {"close_ratio": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        DriftSettings(**settings)


# -- a camera ------------------------------------------------------------------------------------------


def results_for(detector, frames):
    """Each distinct picture is inspected once."""
    known = {}
    for frame in frames:
        key = frame.tobytes()
        if key not in known:
            known[key] = detector(frame)
        yield frame, known[key]


class Camera:
    """Frames in front of a watch, one every tenth of a second."""

    def __init__(self, detector, settings=AT_ONCE):
        self.detector = detector
        self.watch = DriftWatch(Baseline.of(detector), settings, lambda: detector.threshold)
        self.number = 0

    def sees(self, frames, count):
        """What becomes of alerts: (measure, turn) -> the frame after which it did."""
        found = {}
        pairs = list(results_for(self.detector, frames))
        for place in range(1, count + 1):
            frame, result = pairs[place % len(pairs)]
            at = NOON + timedelta(seconds=self.number / 10)
            seen = CameraFrame(noisy(frame, self.number), self.number, self.number / 10, at)
            self.number += 1
            for each in self.watch.observe(seen, result):
                found[each.measure, each.turn] = (place, each.text)
        return found


@pytest.fixture
def fixed(mini_encoder, scenes, quick):
    """A detector of parts in a fixture: real photographs."""
    detector = Detector.enroll(mini_encoder, scenes[:6], recipe=quick)
    detector.set_threshold(1.0)  # the mini encoder sees nothing: all of these are good
    return detector


def test_good_pictures_cry_no_wolf(fixed, scenes):
    camera = Camera(fixed)
    assert camera.sees(scenes[6:], 200) == {}
    assert set(camera.watch.measures) == {"brightness", "sharpness", "score", "patch_distance", "position"}


@pytest.mark.parametrize(
    ("change", "measure", "words"),
    [
        (darker, "brightness", "darker by"),
        (blurred, "sharpness", "out of focus since"),
        (lambda frame: moved(frame, 0.05), "position", "of its width to the right"),
    ],
    ids=["darker", "blurred", "moved"],
)
def test_the_right_alert_comes_within_so_many_frames_and_goes_again(fixed, scenes, change, measure, words):
    camera = Camera(fixed)
    good, changed = scenes[6:], [change(scene) for scene in scenes[6:]]
    assert camera.sees(good, 60) == {}
    after = camera.sees(changed, 80)
    place, text = after[measure, "opened"]
    assert place <= max(AT_ONCE.window // 2 + 1, FRAMES_A_VOTE * VOTES)
    assert words in text
    assert set(after) <= {(measure, "opened"), ("score", "opened"), ("patch_distance", "opened")}
    assert (measure, "closed") in camera.sees(good, 80)


def test_one_odd_frame_or_a_few_do_nothing_and_neither_does_what_does_not_last(fixed, scenes):
    camera = Camera(fixed)
    camera.sees(scenes[6:], 60)
    assert camera.sees([darker(scenes[6])], AT_ONCE.window // 2 - 1) == {}
    lasting = Camera(fixed, DriftSettings(for_s=10, window=40))
    lasting.sees(scenes[6:], 60)
    assert lasting.sees([darker(scene) for scene in scenes[6:]], 110) == {}
    opened = lasting.sees([darker(scene) for scene in scenes[6:]], 30)
    assert opened["brightness", "opened"][1].startswith("darker by 4")
    assert f"{(NOON + timedelta(seconds=8)).astimezone():%H:%M}" in opened["brightness", "opened"][1]


def test_a_limit_of_zero_is_not_watched(fixed, scenes):
    camera = Camera(fixed, DriftSettings(for_s=0, window=40, brightness=0, position=0))
    assert not {"brightness", "position"} & set(camera.watch.measures)
    told = {measure for measure, _ in camera.sees([darker(scene) for scene in scenes[6:]], 80)}
    assert not {"brightness", "position"} & told


def test_a_frozen_picture_says_nothing(fixed, scenes):
    watch = DriftWatch(Baseline.of(fixed), DriftSettings(for_s=0, window=10), lambda: fixed.threshold)
    result = fixed(scenes[0])
    dark = darker(scenes[0])
    for number in range(40):
        frozen = CameraFrame(dark, number, number / 10, NOON, frozen=True)
        assert watch.observe(frozen, result) == []
    assert watch.standing == {}


def test_a_scene_at_rest_that_darkens_is_told_though_its_answers_are_repeated(fixed, scenes):
    from dataclasses import replace

    watch = DriftWatch(Baseline.of(fixed), DriftSettings(for_s=0, window=10), lambda: fixed.threshold)
    result = replace(fixed(scenes[0]), repeated=True)
    dark = darker(scenes[0])
    told = [
        drifted
        for number in range(40)
        for drifted in watch.observe(CameraFrame(dark, number, number / 10, NOON), result)
    ]
    assert {drifted.measure for drifted in told} >= {"brightness"}
    assert not {drifted.measure for drifted in told} & {"score", "patch_distance", "mask_area"}


def test_scores_of_a_faster_setting_and_of_defects_do_not_count(fixed, scenes):
    from dataclasses import replace

    watch = DriftWatch(Baseline.of(fixed), AT_ONCE, lambda: fixed.threshold)
    result = fixed(scenes[0])
    others = [
        replace(result, degraded=("bf16",)),
        replace(result, threshold=2.0),
        replace(result, score=3.0),
    ]
    for number in range(60):
        watch.observe(CameraFrame(scenes[0], number, number / 10, NOON), others[number % 3])
    assert watch.standing["score"].quantiles == ()
    assert watch.standing["brightness"].quantiles


def test_what_only_the_full_setting_tells_is_not_watched_while_it_answers_nothing(fixed, scenes, caplog):
    """Nor may what was seen long ago open an alert."""
    from dataclasses import replace

    settings = {"left": DriftSettings(for_s=2, window=10)}
    high = replace(fixed(scenes[0]), score=0.9)
    faster = replace(high, degraded=("it was inspected at 70 x 70",))
    with caplog.at_level(logging.WARNING, "edgead.drift"), Drift({"left": fixed}, (), settings) as drift:
        told = []
        drift._tell = (SimpleNamespace(on_message=told.append),)
        for number in range(60):
            frame = CameraFrame(scenes[number % 6], number, number / 10, NOON)
            result = high if number < 10 else faster
            drift.on_result(StreamResult("left", frame, result, None, (), 1.0, late=False, dropped=0))
            if number == 12:
                assert 'edgead_drift_watched{camera="left",measure="score"} 1' in drift.metric_lines()
        assert 'edgead_drift_watched{camera="left",measure="score"} 0' in list(drift.metric_lines())
        assert 'edgead_drift_watched{camera="left",measure="brightness"} 1' in list(drift.metric_lines())
    assert told == []
    (warned,) = [record.message for record in caplog.records if "full setting" in record.message]
    assert warned == (
        "left: drift: none of the last 10 frames was answered by the full setting: the score of good parts, "
        "the patch distance of good parts are not watched until one is"
    )


def test_at_the_start_it_is_said_what_a_budget_leaves_to_be_watched(
    mini_bundle, build_bundle, good_frames, quick, tmp_path
):
    clock = FakeClock()
    full = Detector.enroll(paced_encoder(mini_bundle, clock, 25.0)[0], good_frames[:4], recipe=quick)
    small = enroll_like(full, paced_encoder(build_bundle(tmp_path / "s", height=70, width=70), clock, 8)[0])
    scales = {small.fingerprint: (small.scale, small.map_scale)}
    for start, words in ((0, "answers"), (1, "answers, and it begins with a faster one")):
        detector = TieredDetector(full, [small.detector], 33, scales=scales, clock=clock, start=start)
        _, line, *_ = Drift({"left": detector}).described("left")
        assert line == (
            "the score of good parts, the patch distance of good parts only in frames that the full setting "
            + words
        )
    alone = TieredDetector(full, [], 33, clock=clock)
    assert "full setting" not in " ".join(Drift({"left": alone}).described("left"))


def test_the_baseline_is_that_of_enrolment_and_stays(mini_encoder, good_frames, quick):
    detector = Detector.enroll(mini_encoder, good_frames[:4], recipe=quick)
    before = Baseline.of(detector)
    detector.add_good(darker(good_frames[4]))
    after = Baseline.of(detector)
    assert after.ranges == before.ranges
    assert len(detector.calibration.normal_means) == 4
    assert before.ranges["patch_distance"].median == pytest.approx(
        float(np.median(detector.calibration.normal_means))
    )


def test_what_cannot_be_compared_is_said(mini_encoder, good_frames, quick, caplog):
    one = Detector.enroll(mini_encoder, good_frames[:1], recipe=quick)
    with caplog.at_level(logging.INFO, "edgead.drift"), Drift({"left": one}) as drift:
        unwatched = drift.baselines["left"].unwatched
    assert set(unwatched) == {"mask_area", "score", "patch_distance", "position"}
    assert "not the camera's position: one good picture does not tell" in caplog.text


def test_a_mask_is_followed(mini_encoder, good_frames, quick):
    detector = Detector.enroll(mini_encoder, good_frames[:4], recipe=quick.with_(mask="on"))
    assert "mask_area" in Baseline.of(detector).ranges


# -- told ----------------------------------------------------------------------------------------------


def test_sentences_for_a_person():
    clock = f"{NOON.astimezone():%H:%M}"
    assert why("brightness", NOON, 70, Range.of([100.0])) == (
        f"darker by 30% since {clock}: mean grey level 70, at enrolment 100"
    )
    assert why("sharpness", NOON, 0.4, Range.of([1.0])) == (
        f"out of focus since {clock}: sharpness fell to 40% of enrolment"
    )
    assert why("sharpness", NOON, 2.1, Range.of([1.0])).startswith(
        f"more noise or finer detail since {clock}"
    )
    assert why("mask_area", NOON, 0.1, Range.of([0.2])).startswith(
        "parts cover 50% less of the picture since"
    )
    assert why("score", NOON, 0.25, Range.of([0.2])).startswith(
        "good parts score 25% higher than at enrolment"
    )
    assert why("patch_distance", NOON, 0.25, Range.of([0.2])).startswith("good parts are 25% further from")
    assert why_moved(NOON, (-0.03, 0.0)).endswith("the picture lies 3.0% of its width to the left")
    assert why_moved(NOON, (0.03, 0.02)).endswith("to the right and 2.0% of its height down")


def test_alerts_go_through_the_outbox_and_every_one_closes(fixed, scenes, tmp_path):
    dark = [darker(scenes[6 + number % 6]) for number in range(60)]
    settings = {"camera": DriftSettings(for_s=0, window=20)}
    with (
        Delivery([JsonLines(tmp_path / "e.jsonl")], outbox=tmp_path / "o.db") as delivery,
        Drift({"camera": fixed}, tell=[delivery], settings=settings) as drift,
        Metrics(port=0) as metrics,
    ):
        running = stream(fixed, dark, listeners=[delivery, drift, metrics])
        metrics.watch(running, delivery)
        metrics.also(drift.metric_lines)
        list(running)
        numbers = metrics.text()
    written = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    told = [each for each in written if each["kind"] == "drift" and each["drift"] == "brightness"]
    assert [each["state"] for each in told] == ["opened", "closed"]
    assert told[0]["id"] == told[1]["id"]
    assert told[0]["text"].startswith("darker by")
    assert told[0]["now"] < 0.7 * told[0]["enrolled"]
    assert told[1]["reason"] == "stopped"
    assert 'edgead_drift_alert{camera="camera",measure="brightness"} 1' in numbers
    assert 'edgead_drift_value{camera="camera",measure="brightness",quantile="0.5"}' in numbers
    strains = [line for line in numbers.splitlines() if line.startswith("edgead_drift_strain{")]
    assert float(next(line for line in strains if "brightness" in line).split()[-1]) > 1


def test_a_listener_that_fails_keeps_the_alert_from_nobody(fixed, scenes, caplog):
    class Fails(Recorder):
        def on_message(self, message):
            raise RuntimeError("no")

    heard = Recorder()
    drift = Drift({"camera": fixed}, tell=[Fails(), heard], settings={"camera": AT_ONCE})
    list(stream(fixed, [darker(scenes[6 + n % 6]) for n in range(50)], listeners=[drift]))
    assert "opened" in {message.state for message in heard.messages if message.kind == "drift"}
    assert "a listener failed" in caplog.text


def test_a_camera_that_is_not_watched_is_let_be():
    drift = Drift({})
    list(stream(lambda frame: result_of(0.1), [np.zeros((32, 32, 3), np.uint8)], listeners=[drift]))
    assert not [line for line in drift.metric_lines() if not line.startswith("#")]
