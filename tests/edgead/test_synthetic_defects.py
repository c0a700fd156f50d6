"""Defects that are drawn: where they lie, what they leave alone, and that they can be seen."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.selection.synthetic import KINDS, GoodPart, make_defect, make_defects


def textured(height, width, seed=0, grey=False):
    random = np.random.default_rng(seed)
    frame = random.integers(60, 190, (height, width, 3)).astype(np.uint8)
    return np.repeat(frame[:, :, :1], 3, axis=2) if grey else frame


def whole(frame):
    return GoodPart(frame, np.ones(frame.shape[:2], dtype=bool))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    height=st.integers(16, 70),
    width=st.integers(16, 70),
    size=st.floats(0.001, 0.2),
    seed=st.integers(0, 10_000),
    corner=st.booleans(),
)
def test_only_the_marked_inspected_pixels_change(kind, height, width, size, seed, corner):
    frame = textured(height, width, seed)
    inspected = np.zeros((height, width), dtype=bool)
    inspected[: height // 2, : width // 3] = corner
    before = frame.copy()
    part = GoodPart(frame, inspected)
    defect = make_defect(part, part, kind, size, np.random.default_rng(seed))
    np.testing.assert_array_equal(frame, before)
    assert defect.frame.dtype == np.uint8
    assert defect.frame.shape == frame.shape
    assert defect.where.any()
    np.testing.assert_array_equal(defect.frame[~defect.where], frame[~defect.where])
    if corner:
        assert not (defect.where & ~inspected).any()
    assert (defect.frame != frame).any()


def test_a_patch_is_as_large_as_asked_and_comes_from_the_donor():
    black = np.zeros((200, 200, 3), dtype=np.uint8)
    white = np.full((150, 90, 3), 255, dtype=np.uint8)
    sizes = []
    for seed in range(20):
        part = GoodPart(black, np.pad(np.ones((100, 100), dtype=bool), 50))
        defect = make_defect(part, whole(white), "patch", 0.02, np.random.default_rng(seed))
        assert defect.frame[defect.where].min() >= 150
        sizes.append(defect.where.sum())
    # 0.02 of the 100 x 100 inspected; some are cut off at the border of what is inspected.
    assert max(sizes) == pytest.approx(200, rel=0.3)
    assert np.median(sizes) == pytest.approx(200, rel=0.35)


def test_a_scratch_is_thin_and_long():
    defect = make_defect(
        whole(np.full((300, 300, 3), 128, dtype=np.uint8)),
        whole(textured(20, 20)),
        "scratch",
        0.01,
        np.random.default_rng(3),
    )
    rows, columns = np.nonzero(defect.where)
    length = math.hypot(np.ptp(rows), np.ptp(columns))
    assert 30 < length < 75  # twice the side of 1 % of 300 x 300, bent
    assert defect.where.sum() < 12 * length


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_defect_on_a_grey_picture_is_grey(kind):
    frame = textured(60, 60, grey=True)
    defect = make_defect(whole(frame), whole(frame), kind, 0.03, np.random.default_rng(1))
    assert (np.ptp(defect.frame.astype(int), axis=2) == 0).all()


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_it_can_be_seen_where_everything_is_the_same(kind, level):
    frame = np.full((80, 80, 3), level, dtype=np.uint8)
    for seed in range(5):
        defect = make_defect(whole(frame), whole(frame), kind, 0.02, np.random.default_rng(seed))
        assert np.abs(defect.frame[defect.where].astype(int) - level).mean() >= 3


def test_the_same_seed_gives_the_same_pixels_and_another_others():
    parts = [whole(textured(60, 50, seed)) for seed in (0, 1)]
    first, again, other = (make_defects(parts[0], parts, 8, seed) for seed in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.frame, two.frame)
        np.testing.assert_array_equal(one.where, two.where)
    assert any((one.frame != two.frame).any() for one, two in zip(first, other, strict=True))


def test_kinds_take_turns_and_sizes_are_spread():
    part = whole(textured(240, 240))
    defects = make_defects(part, [part], 32, seed=0)
    assert [defect.kind for defect in defects[:4]] == list(KINDS)
    blots = sorted(defect.where.mean() for defect in defects if defect.kind == "blot")
    assert len(blots) == 8
    assert blots[0] < 0.006
    assert blots[-1] > 0.015
