"""Two looks: when one is enough, and what the band promises."""

import math

import numpy as np
import pytest
from edgead_runtime import Detector
from edgead_runtime.cascade import Band, CascadeDetector, LookThresholds, band_from
from edgead_runtime.errors import EnrollmentError
from edgead_runtime.siblings import enroll_like
from hypothesis import given
from hypothesis import strategies as st
from paced import FakeClock, paced_encoder

score = st.floats(0.05, 4.0)
pairs = st.lists(st.tuples(score, score), min_size=2, max_size=12)


def test_the_band_is_how_far_the_two_disagree_on_good_pictures():
    band = band_from([(0.8, 0.9), (0.6, 0.5), (1.0, 1.0)])
    assert band.low == pytest.approx(0.8 / 0.9)
    assert band.high == pytest.approx(1.2)
    # A small look of 0.88 would be 0.99 in the full one at most: below its threshold.
    assert band.is_clear(0.88)
    assert not band.is_clear(0.9)
    assert not band.is_clear(1.1)
    assert band.is_clear(1.21)


def test_two_that_agree_leave_no_band():
    assert band_from([(0.8, 0.8), (0.5, 0.5)]) == Band(1.0, 1.0)


def test_what_is_no_number_gets_a_second_look():
    assert not Band(0.5, 2).is_clear(math.nan)


def test_a_defect_that_the_small_look_misses_widens_it():
    band = band_from([(0.8, 0.9), (0.6, 0.5)], [(0.4, 1.3), (0.1, 0.9)])
    assert not band.is_clear(0.4)
    assert band.is_clear(0.39)


@given(good=pairs, defective=st.lists(st.tuples(score, score), max_size=8))
def test_nothing_known_is_judged_otherwise_than_by_the_full_one(good, defective):
    band = band_from(good, defective)
    assert 0 < band.low <= 1 <= band.high
    for small, full in (*good, *defective):
        if band.is_clear(small):
            assert (small > 1) == (full > 1)


threshold = st.floats(0.01, 10.0)


@given(
    good=pairs,
    defective=st.lists(st.tuples(score, score), max_size=8),
    before=st.builds(LookThresholds, threshold, threshold),
    now=st.builds(LookThresholds, threshold, threshold),
)
def test_what_is_known_is_judged_as_by_the_full_one_when_thresholds_change(good, defective, before, now):
    def times(pair, thresholds):
        return pair[0] / thresholds.small, pair[1] / thresholds.full

    band = band_from([times(one, before) for one in good], [times(one, before) for one in defective])
    moved = band.moved(before, now)
    assert 0 <= moved.low <= 1 <= moved.high
    slack = 1e-9  # of rounding
    for small, full in (times(one, now) for one in (*good, *defective)):
        if small < moved.low * (1 - slack):
            assert full <= 1 + slack
    for small, full in (times(one, now) for one in good):
        if small > moved.high * (1 + slack):
            assert full > 1 - slack


def test_thresholds_that_stay_or_come_back_leave_the_band(looking):
    detector = looking[0]
    before = detector.band, detector.threshold
    detector.set_threshold(2 * before[1])
    assert detector.band.low == pytest.approx(before[0].low / 2)
    assert detector.band.high == pytest.approx(before[0].high)
    detector.set_threshold(before[1] / 2)
    assert detector.band.low == 0
    detector.set_threshold(before[1])
    assert detector.band.low == pytest.approx(before[0].low)


def test_a_threshold_of_zero_needs_the_second_look(looking, good_frames):
    detector = looking[0]
    detector.set_threshold(0)
    result = detector(good_frames[5])
    assert "first look" in result.timings_ms
    assert result.is_anomaly


def test_a_first_look_that_gives_no_numbers_is_told_and_left_out(looking, good_frames, monkeypatch):
    detector = looking[0]
    expected = Detector.__call__(detector, good_frames[5])
    engine = detector._small.encoder._engine
    run = engine.run

    def broken(feeds, outputs=None):
        return {name: np.full_like(each, np.nan) for name, each in run(feeds, outputs).items()}

    monkeypatch.setattr(engine, "run", broken)
    result = detector(good_frames[5])
    assert result.score == expected.score
    assert "The first look failed" in result.notes[-1]
    assert "first look" in result.timings_ms


def test_no_band_holds_a_defect_that_the_small_look_is_blind_to():
    with pytest.raises(EnrollmentError, match="blind"):
        band_from([(0.8, 0.9), (0.6, 0.5)], [(0.0, 1.3)])


@pytest.mark.parametrize(("good", "said"), [([(1, 1)], "two good"), ([(0, 1), (1, 1)], "scores 0")])
def test_too_little_to_go_by(good, said):
    with pytest.raises(EnrollmentError, match=said):
        band_from(good)


@pytest.fixture
def looking(mini_bundle, tmp_path, build_bundle, good_frames, quick):
    """A cascade, its two encoders' clocks, and how often each ran."""
    clock = FakeClock()
    full_encoder, slow = paced_encoder(mini_bundle, clock, 25.0)
    small_encoder, _ = paced_encoder(build_bundle(tmp_path / "s", height=70, width=70), clock, 8.0)
    full = Detector.enroll(full_encoder, good_frames[:4], recipe=quick)
    return CascadeDetector(full, enroll_like(full, small_encoder), Band(0.9, 1.2)), clock, slow


def times_threshold(looking, value, frame):
    """Put the small setting's threshold such that the frame scores this many times it."""
    detector = looking[0]
    small = detector._small
    small.set_threshold(small(frame).score / value)
    detector._thresholds_as_tuned = LookThresholds(detector.threshold, small.threshold)


@pytest.mark.parametrize(("value", "ms"), [(0.5, 8), (0.89, 8), (0.91, 33), (1.0, 33), (1.19, 33), (1.3, 8)])
def test_only_what_is_near_the_threshold_is_looked_at_twice(looking, good_frames, value, ms):
    detector, clock, _ = looking
    times_threshold(looking, value, good_frames[5])
    before = clock.now
    result = detector(good_frames[5])
    assert (clock.now - before) * 1e3 == pytest.approx(ms)
    twice = ms > 8
    assert ("first look" in result.timings_ms) == twice
    assert result.patch_distances.shape == ((8, 8) if twice else (5, 5))
    if not twice:
        assert result.is_anomaly == (value > 1)
    else:
        assert result.threshold == detector.threshold


def test_both_learn(looking, good_frames):
    detector = looking[0]
    detector.add_good(good_frames[5])
    assert detector._small.references[-1].digest == detector.references[-1].digest
    assert detector(good_frames[5]).score < 1e-5
    detector.undo()
    assert len(detector._small.references) == 4
