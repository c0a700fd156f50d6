"""The last answer again for a scene at rest: what counts as rest, and what never does."""

import numpy as np
import pytest
from edgead_runtime import Detector
from edgead_runtime.errors import EdgeadError, FrameSizeError, PictureError
from edgead_runtime.unchanged import (
    UnchangedFrames,
    largest_change,
    small_frame,
    smallest_spot,
    tolerance_from,
)


def noisy(frame, seed, sigma=1.5):
    random = np.random.default_rng(seed)
    return np.clip(frame + random.normal(0, sigma, frame.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def look(detector):
    return UnchangedFrames(detector, tolerance=4.0)


def test_the_same_frame_is_not_inspected_again(look, part):
    first, second = look(part(7)), look(part(7))
    assert (look.inspected, look.repeated) == (1, 1)
    assert not first.repeated
    assert second.repeated
    assert second.score == first.score
    assert second.map is first.map
    assert second.regions == first.regions
    assert next(iter(second.timings_ms)) == "compare"


def test_sensor_noise_is_no_change(look, part):
    for seed in range(5):
        look(noisy(part(7), seed))
    assert (look.inspected, look.repeated) == (1, 4)


def test_a_defect_is(look, part, defective):
    assert not look(part(90)).is_anomaly
    assert look(defective.frame).is_anomaly
    assert look.inspected == 2


def test_a_small_change_anywhere_is_enough(detector, part):
    look = UnchangedFrames(detector, tolerance=2.0)
    for row in range(0, 152, 13):
        frame = part(7)
        look(frame)
        changed = frame.copy()
        changed[row : row + 8, row : row + 8, 1] ^= 4
        assert not look(changed).repeated


def test_a_slow_drift_adds_up(look, part):
    # Each frame differs from the one before by less than the tolerance, and from the inspected one by more.
    frames = [np.clip(part(7).astype(int) + step, 0, 255).astype(np.uint8) for step in range(12)]
    results = [look(frame) for frame in frames]
    assert [result.repeated for result in results] == [False, True, True, True, True] * 2 + [False, True]


def test_a_buffer_that_is_filled_again_is_noticed(look, part, defective):
    buffer = part(90)
    look(buffer)
    buffer[:] = defective.frame
    assert not look(buffer).repeated


def test_what_the_detector_learned_counts_at_once(look, detector, part):
    look(part(7))
    detector.add_good(part(8))
    assert not look(part(7)).repeated
    assert look(part(7)).repeated
    detector.set_threshold(0.5)
    again = look(part(7))
    assert not again.repeated
    assert again.threshold == 0.5


def test_a_frame_that_cannot_be_inspected_leaves_nothing_to_repeat(look, part):
    look(part(7))
    with pytest.raises(FrameSizeError):
        look(part(7)[:100])
    assert not look(part(7)).repeated
    with pytest.raises(PictureError):
        look(part(7).astype(np.float32))
    assert look(part(7)).repeated  # that was no frame: nothing was seen
    look.forget()
    assert not look(part(7)).repeated


def test_a_change_of_size_is_a_change(mini_encoder, good_frames, quick):
    detector = Detector.enroll(mini_encoder, good_frames[:3], recipe=quick)
    detector.any_size = True
    look = UnchangedFrames(detector, tolerance=4)
    look(good_frames[0])
    assert not look(np.ascontiguousarray(good_frames[0][:, :150])).repeated


def test_noise_is_measured(part):
    frames = [noisy(part(7), seed) for seed in range(6)]
    tolerance = tolerance_from(frames)
    small = [small_frame(frame) for frame in frames]
    assert max(largest_change(small[1], other) for other in small) < tolerance <= 6
    with pytest.raises(PictureError, match="at least three"):
        tolerance_from(frames[:2])
    with pytest.raises(PictureError, match="not at rest"):
        tolerance_from([*frames, 255 - frames[0]])


@pytest.mark.parametrize("tolerance", [-1, 6.5, float("nan")])
def test_a_tolerance_that_makes_no_sense(detector, tolerance):
    with pytest.raises(EdgeadError, match="tolerance"):
        UnchangedFrames(detector, tolerance=tolerance)


@pytest.mark.parametrize(
    ("shape", "small"),
    [((511, 300), (511, 300)), ((512, 300), (256, 150)), ((1031, 5000), (64, 312)), ((1, 2000), (1, 500))],
)
def test_frames_of_any_size_are_made_small(shape, small):
    frame = np.full((*shape, 3), 77, dtype=np.uint8)
    made = small_frame(frame)
    assert made.shape == (*small, 3)
    assert made.min() == made.max() == 77
    assert not np.shares_memory(made, frame)


@pytest.mark.parametrize("side", [300, 1100, 2048])
@pytest.mark.parametrize(("tolerance", "contrast"), [(2.0, 120), (4.0, 40)])
def test_how_small_a_spot_is_noticed(side, tolerance, contrast):
    still = np.full((side, side, 3), 120, dtype=np.uint8)
    expected = smallest_spot((side, side), tolerance, contrast)

    def change(size):
        spotted = still.copy()
        place = side // 2 + 3
        spotted[place : place + size, place : place + size] -= np.uint8(contrast)
        return largest_change(small_frame(still), small_frame(spotted))

    assert change(int(1.35 * expected) + 1) > tolerance
    assert change(int(0.75 * expected)) <= tolerance
    assert smallest_spot((side, side), tolerance, tolerance) == np.inf


def test_whoever_knows_of_another_part_says_so(detector, good_frames):
    """Parts that are alike may differ by less than a tolerance that a noisy camera needs."""
    one, other = good_frames[0], good_frames[0].copy()
    other[40:80, 40:80] += 5
    look = UnchangedFrames(detector, tolerance=6)
    look(one)
    assert look(other).repeated
    look.forget()
    assert not look(other).repeated
