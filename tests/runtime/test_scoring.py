"""The image score: mean of the top 1 %, masked patches counted."""

import numpy as np
import pytest
from edgead_runtime.scoring import image_score
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def test_top_ten_of_1024():
    distances = np.zeros((32, 32), np.float32)
    distances.ravel()[np.random.default_rng(0).permutation(1024)[:12]] = np.arange(1, 13)
    assert image_score(distances, 0.01) == pytest.approx(np.mean(np.arange(3, 13)))


def test_the_maximum_where_one_percent_is_less_than_one_patch():
    distances = np.linspace(0, 1, 64, dtype=np.float32)
    assert image_score(distances, 0.01) == 1


def test_all_patches():
    assert image_score(np.array([1, 2, 6], np.float32), 1.0) == 3


def test_one_patch():
    assert image_score(np.array([[0.25]], np.float32), 0.01) == 0.25


def test_masked_patches_stay_in_the_count():
    """4 of 1024 patches are left: the other 6 of the top 10 are zeros."""
    distances = np.zeros(1024, np.float32)
    distances[:4] = 1.0
    assert image_score(distances, 0.01) == pytest.approx(0.4)


@given(
    arrays(np.float32, st.integers(1, 3000), elements=st.floats(0, 2, width=32)),
    st.floats(0.001, 1.0),
)
def test_it_is_the_mean_of_the_largest(distances, fraction):
    count = max(int(fraction * len(distances)), 1)
    expected = np.sort(distances.astype(np.float64))[::-1][:count].mean()
    assert image_score(distances, fraction) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(arrays(np.float32, 256, elements=st.floats(0, 2, width=32)), st.integers(0, 10**6))
def test_it_does_not_depend_on_the_order_and_changes_nothing(distances, seed):
    before = distances.copy()
    shuffled = np.random.default_rng(seed).permutation(distances).reshape(16, 16)
    assert image_score(distances, 0.05) == pytest.approx(image_score(shuffled, 0.05), rel=1e-5, abs=1e-7)
    assert np.array_equal(distances, before)


def test_other_statistics():
    distances = np.arange(101, dtype=np.float32).reshape(1, 101)
    assert image_score(distances, 0.1, "max") == 100
    assert image_score(distances, 0.1, "quantile") == pytest.approx(90)
    assert image_score(distances, 0.1, "top-mean") == pytest.approx(95.5)
