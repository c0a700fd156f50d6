"""Two looks: when one is enough, and what the band promises."""

import math

import pytest
from edgead_runtime import Detector
from edgead_runtime.cascade import Band, CascadeDetector, band_from
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
    detector = looking[0]._small
    detector.set_threshold(detector(frame).score / value)


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
