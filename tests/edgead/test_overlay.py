import numpy as np
import pytest
from edgead_runtime import Region

from edgead.report.overlay import MAX_OPACITY, draw_overlay, fit_longest_side, heat_level

GREY = np.full((700, 800, 3), 120, dtype=np.uint8)


def constant_map(value, shape=(700, 800)):
    return np.full(shape, value, dtype=np.float32)


def test_nothing_is_painted_below_half_the_pixel_threshold():
    np.testing.assert_array_equal(draw_overlay(GREY, constant_map(0.0999), 0.2), GREY)


def test_colour_saturates_at_twice_the_pixel_threshold():
    twice = draw_overlay(GREY, constant_map(0.4), 0.2)
    np.testing.assert_array_equal(twice, draw_overlay(GREY, constant_map(9.0), 0.2))
    assert (draw_overlay(GREY, constant_map(0.3), 0.2) != twice).any()


def test_the_scale_is_fixed_by_the_detector_and_not_by_the_picture():
    alone = constant_map(0.0)
    alone[300:340, 300:340] = 0.25
    beside_worse = alone.copy()
    beside_worse[:100, :100] = 5.0
    inside = (slice(300, 340), slice(300, 340))
    np.testing.assert_array_equal(
        draw_overlay(GREY, alone, 0.2)[inside], draw_overlay(GREY, beside_worse, 0.2)[inside]
    )


def test_the_same_multiple_of_another_threshold_has_the_same_colour():
    np.testing.assert_array_equal(
        draw_overlay(GREY, constant_map(0.3), 0.2), draw_overlay(GREY, constant_map(0.75), 0.5)
    )


def test_the_part_shines_through_where_the_heat_is_greatest():
    frame = GREY.copy()
    frame[:, 400:] = 220
    painted = draw_overlay(frame, constant_map(5.0), 0.2).astype(int)
    kept = painted[0, 500] - painted[0, 100]
    np.testing.assert_allclose(kept, (1 - MAX_OPACITY) * 100, atol=1)


def test_levels_grow_with_distance_and_survive_a_threshold_of_zero():
    levels = heat_level(np.linspace(0, 1, 50, dtype=np.float32), 0.3)
    assert (np.diff(levels) >= 0).all()
    assert levels[0] == 0
    assert levels[-1] == 1
    assert np.isfinite(heat_level(np.array([0.0, 0.1], dtype=np.float32), 0.0)).all()


def test_a_box_is_drawn_where_the_region_is():
    region = Region(x=100, y=200, width=50, height=30, area_px=1500, peak=0.5)
    changed = (draw_overlay(GREY, constant_map(0), 0.2, [region]) != GREY).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.min() == pytest.approx(200, abs=3)
    assert rows.max() == pytest.approx(229, abs=3)
    assert columns.min() == pytest.approx(100, abs=3)
    assert columns.max() == pytest.approx(149, abs=3)
    assert not changed[205:225, 105:145].any()


def test_the_frame_is_not_touched():
    frame = GREY.copy()
    draw_overlay(frame, constant_map(1), 0.2, [Region(x=0, y=0, width=9, height=9, area_px=81, peak=1.0)])
    np.testing.assert_array_equal(frame, GREY)


@pytest.mark.parametrize(
    ("shape", "expected"), [((30, 60), (300, 600)), ((800, 700), (800, 700)), ((3200, 100), (1600, 50))]
)
def test_overlays_are_of_a_size_for_the_eye(shape, expected):
    frame = np.zeros((*shape, 3), dtype=np.uint8)
    assert draw_overlay(frame, constant_map(0, shape), 0.2).shape[:2] == expected


def test_a_very_long_picture_keeps_at_least_one_pixel():
    assert fit_longest_side(np.zeros((1, 5000), dtype=np.float32), 1, 100).shape == (1, 100)
