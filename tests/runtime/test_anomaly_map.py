"""The map against torch and SciPy, and regions worked out by hand."""

import numpy as np
import pytest
import torch
from edgead_runtime.anomaly_map import find_regions, make_map
from scipy import ndimage


def _independent(distances, frame_hw, sigma):
    small = torch.from_numpy(distances.astype(np.float64))[None, None]
    large = torch.nn.functional.interpolate(small, size=frame_hw, mode="bilinear", align_corners=False)
    upsampled = large[0, 0].numpy()
    return ndimage.gaussian_filter(upsampled, sigma, mode="reflect", truncate=4.0) if sigma else upsampled


@pytest.mark.parametrize("frame_hw", [(300, 300), (576, 768), (97, 131), (448, 448), (20, 400)])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 1.5, 4.0, 7.3])
def test_the_map_is_torchs_upsampling_and_scipys_gaussian(frame_hw, sigma):
    distances = np.random.default_rng(1).uniform(0, 1, (16, 21)).astype(np.float32)
    found = make_map(distances, frame_hw, sigma)
    assert found.shape == frame_hw
    assert found.dtype == np.float32
    assert np.abs(found - _independent(distances, frame_hw, sigma)).max() < 1e-5


@pytest.mark.parametrize("frame_hw", [(16, 16), (16, 40), (31, 17)])
def test_frames_smaller_than_the_kernel(frame_hw):
    """33 taps on 16 pixels: the border is reflected more than once."""
    distances = np.random.default_rng(2).uniform(0, 1, (8, 8)).astype(np.float32)
    assert np.abs(make_map(distances, frame_hw, 4.0) - _independent(distances, frame_hw, 4.0)).max() < 1e-5


def test_a_frame_smaller_than_the_grid():
    distances = np.random.default_rng(2).uniform(0, 1, (32, 32)).astype(np.float32)
    assert np.abs(make_map(distances, (16, 16), 0.0) - _independent(distances, (16, 16), 0)).max() < 1e-5


def test_a_single_patch_and_a_constant():
    assert make_map(np.full((1, 1), 0.5, np.float32), (20, 30), 4.0) == pytest.approx(0.5)
    assert make_map(np.full((8, 8), 0.25, np.float32), (112, 113), 4.0) == pytest.approx(0.25)


def test_smoothing_keeps_the_mean():
    distances = np.random.default_rng(3).uniform(0, 1, (8, 8)).astype(np.float32)
    plain, smooth = (make_map(distances, (160, 160), sigma) for sigma in (0.0, 4.0))
    assert smooth.mean() == pytest.approx(plain.mean(), rel=1e-5)


def test_the_peak_is_where_the_patch_is():
    distances = np.zeros((8, 8), np.float32)
    distances[2, 5] = 1.0
    row, column = np.unravel_index(make_map(distances, (160, 320), 4.0).argmax(), (160, 320))
    assert 40 <= row < 60
    assert 200 <= column < 240


def _map(*boxes, shape=(40, 60)):
    drawn = np.zeros(shape, np.float32)
    for x, y, width, height, value in boxes:
        drawn[y : y + height, x : x + width] = value
    return drawn


def test_regions_come_strongest_first():
    regions = find_regions(_map((2, 3, 5, 4, 0.6), (30, 20, 10, 8, 0.9)), 0.5)
    assert [(r.x, r.y, r.width, r.height, r.area_px) for r in regions] == [
        (30, 20, 10, 8, 80),
        (2, 3, 5, 4, 20),
    ]
    assert [r.peak for r in regions] == pytest.approx([0.9, 0.6])


def test_corners_that_touch_are_one_region():
    (region,) = find_regions(_map((10, 10, 4, 4, 1.0), (14, 14, 4, 4, 1.0)), 0.5)
    assert (region.x, region.y, region.width, region.height, region.area_px) == (10, 10, 8, 8, 32)


def test_the_peak_of_a_region_is_not_that_of_another_in_its_box():
    ring = _map((10, 10, 20, 20, 0.6), (12, 12, 16, 16, 0.0), (18, 18, 4, 4, 1.0))
    outer, inner = sorted(find_regions(ring, 0.5), key=lambda region: -region.width)
    assert outer.peak == pytest.approx(0.6)
    assert inner.peak == pytest.approx(1.0)


def test_the_threshold_itself_is_not_above_it():
    assert find_regions(_map((0, 0, 5, 5, 0.5)), 0.5) == ()


def test_nothing_above_the_threshold():
    quiet = _map((5, 6, 3, 2, 0.4))
    assert find_regions(quiet, 0.5) == ()
    (region,) = find_regions(quiet, 0.5, at_least_one=True)
    assert (region.x, region.y, region.width, region.height) == (5, 6, 3, 2)
    assert region.peak == pytest.approx(0.4)


def test_at_least_one_is_the_peak_and_what_reaches_nine_tenths_of_it():
    drawn = _map((5, 5, 10, 10, 0.30), (8, 8, 4, 4, 0.38), (10, 10, 1, 1, 0.40), (40, 20, 6, 6, 0.39))
    (region,) = find_regions(drawn, 0.5, at_least_one=True)
    assert (region.x, region.y, region.width, region.height) == (8, 8, 4, 4)


def test_at_least_one_adds_nothing_where_there_are_some():
    drawn = _map((2, 3, 5, 4, 0.6))
    assert find_regions(drawn, 0.5, at_least_one=True) == find_regions(drawn, 0.5)


def test_at_least_one_of_a_map_of_zeros():
    (region,) = find_regions(_map(), 0.5, at_least_one=True)
    assert region.area_px == 40 * 60
