"""Laying one picture over another: known motions come back, and what is in doubt is refused."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources

import cv2
import numpy as np
import pytest
from edgead_runtime import alignment
from edgead_runtime.alignment import (
    MAX_LANDMARKS,
    WORKING_SIDE_PX,
    align,
    coverage,
    find_landmarks,
    fit_rigid,
    transform,
    warp,
)
from edgead_runtime.images import decode_picture
from edgead_runtime.views import rotate
from hypothesis import given
from hypothesis import strategies as st
from reference import patchead

PICTURES = ["brick", "coffee", "grass", "gravel"]


@cache
def bundled(name):
    file = resources.files("edgead_export") / "pictures" / f"{name}.jpg"
    return decode_picture(file.read_bytes(), file.name).frame


@cache
def drawn_part(seed=0, hw=(360, 480)):
    """A plate with holes, slots and a stamped number on an even ground, and some grain."""
    random = np.random.default_rng(seed)
    height, width = hw
    part = np.full((height, width, 3), 90, np.uint8)
    cv2.rectangle(part, (70, 50), (width - 70, height - 60), (170, 175, 180), -1)
    for x, y in random.integers((100, 80), (width - 100, height - 90), (9, 2)).tolist():
        cv2.circle(part, (x, y), int(random.integers(4, 16)), (60, 55, 50), -1)
    for x, y in random.integers((100, 80), (width - 130, height - 100), (4, 2)).tolist():
        cv2.rectangle(part, (x, y), (x + 30, y + 8), (230, 225, 220), -1)
    cv2.putText(part, f"A7-{seed:04d}", (120, 200), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 20), 2)
    return np.clip(part + random.normal(0, 2, part.shape), 0, 255).astype(np.uint8)


def picture(name):
    return drawn_part() if name == "drawn" else bundled(name)


@cache
def landmarks_of(name):
    return find_landmarks(picture(name))


def motion(hw, degrees, shift=(0.0, 0.0)):
    height, width = hw
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += shift
    return matrix


def move(frame, matrix, hw=None, *, seed=0):
    """Under a matrix, with noise and a little brighter."""
    height, width = hw or frame.shape[:2]
    moved = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    noise = np.random.default_rng(seed).normal(8, 2, moved.shape)
    return np.clip(moved + noise, 0, 255).astype(np.uint8)


def laid(moving, fixed):
    return align(find_landmarks(moving), find_landmarks(fixed))


def corner_error_px(found, true, hw):
    corners = np.array([[x, y] for x in (0.0, hw[1] - 1.0) for y in (0.0, hw[0] - 1.0)])
    return np.linalg.norm(transform(corners, found) - transform(corners, true), axis=1).max()


# What is found


@pytest.mark.parametrize("degrees", [0, 31.2, 90, 180, -137])
@pytest.mark.parametrize("name", ["drawn", *PICTURES])
def test_a_known_motion_comes_back(name, degrees):
    fixed = picture(name)
    hw = fixed.shape[:2]
    there = motion(hw, degrees, (0.04 * hw[1], -0.06 * hw[0]))
    found = align(find_landmarks(move(fixed, there)), landmarks_of(name))
    assert found.found, found.reason
    back = cv2.invertAffineTransform(there)
    assert corner_error_px(found.matrix, back, hw) < 1
    assert abs((found.rotation_deg + degrees + 180) % 360 - 180) < 0.1
    centre = np.array([[(hw[1] - 1) / 2, (hw[0] - 1) / 2]])
    assert found.shift_px == pytest.approx(np.linalg.norm(transform(centre, back) - centre), abs=1)
    assert found.inliers <= found.matches


def test_a_frame_lies_where_it_lies():
    part = drawn_part()
    found = laid(part, part)
    assert found.matrix == pytest.approx(np.eye(2, 3), abs=1e-9)
    assert (
        found.reason
        == f"turned by 0.0 degrees, shifted by 0 px; {found.matches} of {found.matches} matches agree"
    )


def test_the_rotation_is_the_one_that_bank_rotate_takes():
    part = drawn_part()
    turned = move(part, motion(part.shape[:2], -20))
    assert laid(turned, part).rotation_deg == pytest.approx(20, abs=0.1)
    assert np.abs(rotate(turned, 20.0)[100:250, 100:350] - part[100:250, 100:350].astype(float)).mean() < 15


def test_the_reason_says_what_was_done():
    part = drawn_part()
    found = laid(move(part, motion(part.shape[:2], -31.2, (6, 8))), part)
    assert found.reason.startswith("turned by 31.2 degrees, shifted by 10 px; ")
    assert found.reason.endswith(f"{found.inliers} of {found.matches} matches agree")


def test_a_part_with_a_defect_is_laid_over_a_good_one():
    good = drawn_part()
    broken = good.copy()
    broken[120:240, 200:330] = 250
    there = motion(good.shape[:2], 12)
    found = laid(move(broken, there), good)
    assert corner_error_px(found.matrix, cv2.invertAffineTransform(there), good.shape[:2]) < 1


def test_frames_of_different_sizes():
    """A cut-out of the same picture: a pixel shows as much in both."""
    whole = drawn_part()
    cut = np.ascontiguousarray(whole[40:320, 60:440])
    found = laid(cut, whole)
    assert found.matrix == pytest.approx(np.array([[1, 0, 60], [0, 1, 40]]), abs=0.2)
    assert warp(cut, found, whole.shape[:2]).shape == whole.shape
    back = laid(whole, cut)
    assert np.abs(warp(whole, back, cut.shape[:2]).astype(float) - cut).mean() < 2


def test_different_sizes_above_the_working_copy_s():
    """The copies are of different magnification then, the frames are not."""
    whole = cv2.resize(bundled("coffee"), (1500, 1000), interpolation=cv2.INTER_CUBIC)
    found = laid(np.ascontiguousarray(whole[100:950, 200:1200]), whole)
    assert found.found, found.reason
    assert corner_error_px(found.matrix, np.array([[1, 0, 200], [0, 1, 100.0]]), (850, 1000)) < 3


def test_a_large_frame_is_searched_in_a_small_copy():
    large = cv2.resize(drawn_part(), (2400, 1800), interpolation=cv2.INTER_LINEAR)
    there = motion((1800, 2400), 25, (100, 50))
    landmarks = find_landmarks(move(large, there))
    assert len(landmarks.points) <= MAX_LANDMARKS
    assert landmarks.scale == WORKING_SIDE_PX / 2400
    assert landmarks.points.max() > 1500  # in pixels of the frame
    found = align(landmarks, find_landmarks(large))
    assert (
        corner_error_px(found.matrix, cv2.invertAffineTransform(there), (1800, 2400)) < 2400 / WORKING_SIDE_PX
    )


def test_a_mask_keeps_the_background_from_being_aligned():
    """A part that lies turned on a ground that does not: the ground has more landmarks."""
    ground, part = bundled("gravel"), bundled("brick")[:200, :200]
    turned = cv2.rotate(part, cv2.ROTATE_90_CLOCKWISE)
    fixed, moving = ground.copy(), ground.copy()
    fixed[150:350, 150:350], moving[150:350, 150:350] = part, turned
    mask = np.zeros((64, 64), bool)
    mask[20:43, 20:43] = True  # in patches of 8 pixels
    assert laid(moving, fixed).rotation_deg == pytest.approx(0, abs=0.1)
    found = align(find_landmarks(moving, mask), find_landmarks(fixed, mask))
    assert found.rotation_deg == pytest.approx(90, abs=0.2), found.reason
    # About the part's centre, (249.5, 249.5).
    assert transform(np.array([[249.5, 249.5]]), found.matrix) == pytest.approx(249.5, abs=0.5)


def test_no_landmark_lies_outside_the_mask():
    mask = np.zeros((10, 10), bool)
    mask[4:6, :5] = True
    points = find_landmarks(bundled("gravel"), mask).points
    assert len(points) > 20
    x, y = points.T
    assert x.max() <= 0.5 * 512 + 1
    assert y.min() >= 0.4 * 512 - 1
    assert y.max() <= 0.6 * 512 + 1


def test_a_mask_over_everything_changes_nothing():
    masked, plain = find_landmarks(drawn_part(), np.ones((4, 4), bool)), landmarks_of("drawn")
    assert sorted(masked.points.tolist()) == sorted(plain.points.tolist())


def test_a_mask_over_nothing():
    nothing = find_landmarks(drawn_part(), np.zeros((4, 4), bool))
    assert refused(align(nothing, landmarks_of("drawn")), "too few landmarks to go by (0)")


# What is refused


def refused(found, *words):
    assert not found.found
    assert np.array_equal(found.matrix, np.eye(2, 3))
    assert found.rotation_deg == found.shift_px == 0
    assert all(word in found.reason for word in words), found.reason
    return True


@pytest.mark.parametrize("hw", [(360, 480), (16, 16), (1, 1), (20, 2000)])
def test_a_blank_frame(hw):
    blank = np.full((*hw, 3), 120, np.uint8)
    nothing, part = find_landmarks(blank), landmarks_of("drawn")
    for moving, fixed in ((nothing, part), (part, nothing), (nothing, nothing)):
        assert refused(align(moving, fixed), "too few landmarks to go by (0)")


@pytest.mark.parametrize("moving", PICTURES)
@pytest.mark.parametrize("fixed", ["drawn", *PICTURES])
def test_unrelated_pictures(moving, fixed):
    if moving != fixed:
        assert refused(align(landmarks_of(moving), landmarks_of(fixed)), "too few landmarks look alike")


@pytest.mark.parametrize(("size", "words"), [(0.5, "0.50 times"), (1.1, "1.10 times"), (2.0, "2.00 times")])
def test_another_magnification(size, words):
    part = drawn_part()
    scaled = cv2.resize(part, None, fx=size, fy=size, interpolation=cv2.INTER_LINEAR)
    # "1.10 times" is how much larger the fixed one shows what the moving one does.
    assert refused(laid(part, scaled), words)


def test_a_magnification_within_the_tolerance():
    part = bundled("gravel")
    scaled = cv2.resize(part, None, fx=1.01, fy=1.01, interpolation=cv2.INTER_LINEAR)
    found = laid(scaled, part)
    assert found.found, found.reason
    assert np.linalg.det(found.matrix[:, :2]) == pytest.approx(1)


def test_too_little_of_the_fixed_frame():
    part = bundled("gravel")
    cut = np.ascontiguousarray(part[:300, :300])
    assert refused(laid(cut, part), "it would cover only 35% of the frame")
    assert laid(part, cut).found


def test_a_mirrored_picture_is_another_part():
    assert refused(laid(np.ascontiguousarray(bundled("coffee")[:, ::-1]), bundled("coffee")), "only")


def test_matches_that_do_not_agree():
    """Everything is found again, but nowhere near where it should be."""
    part = bundled("gravel")
    landmarks = find_landmarks(part)
    scattered = np.random.default_rng(0).permutation(landmarks.points)
    shuffled = alignment.Landmarks(scattered, landmarks.descriptors, landmarks.frame_hw, landmarks.scale)
    assert refused(align(shuffled, landmarks), f"of {len(scattered)} matches agree")


# The same every time


def test_repeats_and_threads_give_the_same_bits():
    part = drawn_part()
    moved = move(part, motion(part.shape[:2], 77, (10, 5)))

    def once(seed):
        cv2.setRNGSeed(seed)
        found = laid(moved, part)
        return found.matrix.tobytes(), found.inliers, found.matches, found.reason

    with ThreadPoolExecutor(4) as pool:
        results = {once(0), *pool.map(once, range(12))}
    assert len(results) == 1


# The fit

coordinates = st.floats(-5000, 5000, allow_nan=False)
points = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=30)


@given(points, st.integers(0, 10**6), st.floats(0, 300))
def test_the_fit_is_rigid_whatever_the_points(source, seed, scatter):
    source = np.array(source)
    target = source[:, ::-1] + np.random.default_rng(seed).normal(0, scatter + 1e-3, source.shape)
    rotation = fit_rigid(source, target)[:, :2]
    assert rotation @ rotation.T == pytest.approx(np.eye(2), abs=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


@given(st.floats(-180, 180), st.tuples(coordinates, coordinates), st.integers(0, 10**6))
def test_the_fit_is_the_oracle_s(degrees, shift, seed):
    random = np.random.default_rng(seed)
    source = random.uniform(0, 4000, (20, 2))
    target = transform(source, motion((3000, 4000), degrees, shift)) + random.normal(0, 2, source.shape)
    assert fit_rigid(source, target) == pytest.approx(patchead.rigid_fit(source, target), abs=1e-6)


# The warp


@pytest.mark.parametrize("fixed_hw", [(360, 480), (300, 500)])
def test_the_warp_is_the_oracle_s(fixed_hw):
    part = drawn_part()
    there = motion((360, 480), 33, (12.3, -40.6))
    found = alignment.Alignment(there, 0, 0, 0.0, 0.0, "", found=True)
    difference = np.abs(
        warp(part, found, fixed_hw).astype(float) - patchead.aligned_views(part, there, fixed_hw)[1]
    )
    # OpenCV may round a place to 1/32 pixel, which shows at the edges.
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 4


def test_an_aligned_frame_lies_over_the_fixed_one():
    part = drawn_part()
    moved = cv2.warpAffine(part, motion((360, 480), 40), (480, 360), borderMode=cv2.BORDER_REFLECT_101)
    aligned = warp(moved, laid(moved, part), (360, 480))
    inner = np.s_[110:250, 120:360]
    assert np.abs(aligned[inner].astype(float) - part[inner]).mean() < 4
    assert np.abs(moved[inner].astype(float) - part[inner]).mean() > 12


def test_what_is_not_aligned_stays_as_it_is():
    part = drawn_part()
    found = laid(part, np.full_like(part, 7))
    assert warp(part, found, (360, 480)) is part
    assert np.array_equal(warp(part, found, (100, 100)), part[:100, :100])


@pytest.mark.parametrize(
    ("matrix", "moving_hw", "fixed_hw", "share"),
    [
        ([[1, 0, 0], [0, 1, 0]], (100, 100), (100, 100), 1.0),
        ([[1, 0, 50], [0, 1, 0]], (100, 100), (100, 100), 0.5),
        ([[1, 0, 0], [0, 1, -75]], (100, 100), (100, 100), 0.25),
        ([[-1, 0, 100], [0, -1, 100]], (100, 100), (100, 100), 1.0),
        ([[1, 0, 500], [0, 1, 0]], (100, 100), (100, 100), 0.0),
        ([[1, 0, 0], [0, 1, 0]], (100, 100), (100, 200), 0.5),
        ([[0, -1, 100], [1, 0, 0]], (100, 200), (200, 100), 1.0),
        ([[0, -1, 100], [1, 0, 0]], (100, 200), (100, 200), 0.5),
    ],
)
def test_coverage_by_hand(matrix, moving_hw, fixed_hw, share):
    assert coverage(np.array(matrix, float), moving_hw, fixed_hw) == pytest.approx(share, abs=0.02)
