"""Whatever a search missed, the image score is the exact one."""

import numpy as np
import pytest
from edgead_runtime.patch_distances import PatchDistances
from edgead_runtime.scoring import image_score, scored_count
from edgead_runtime.settling import settle
from hypothesis import given
from hypothesis import strategies as st

STATISTICS = ("top-mean", "max", "quantile")


@given(
    seed=st.integers(0, 10**6),
    patches=st.integers(1, 300),
    layers=st.integers(1, 3),
    missed=st.floats(0, 1),
    kept=st.floats(0, 1),
    fraction=st.floats(0.001, 1),
    statistic=st.sampled_from(STATISTICS),
    last_only=st.booleans(),
)
def test_the_score_is_exact_however_bad_the_search(
    seed, patches, layers, missed, kept, fraction, statistic, last_only
):
    random = np.random.default_rng(seed)
    exact = tuple(random.random(patches, dtype=np.float32) for _ in range(layers))
    found = tuple(
        one + np.where(random.random(patches) < missed, random.random(patches), 0).astype(np.float32)
        for one in exact
    )
    weights = np.where(random.random(patches) < kept, 1, random.choice([0, 0.5])).astype(np.float32)

    def combine(distances):
        for_map = np.mean(distances, axis=0, dtype=np.float32) * weights
        return PatchDistances(for_map, distances[-1] * weights if last_only else for_map)

    before = [one.copy() for one in found]
    settled = settle(
        found,
        count=scored_count(patches, fraction, statistic),
        exactly=lambda rows: tuple(one[rows] for one in exact),
        combine=combine,
    )
    expected = combine(exact)
    assert image_score(settled.for_score, fraction, statistic) == pytest.approx(
        image_score(expected.for_score, fraction, statistic), abs=1e-6
    )
    assert (settled.for_map >= expected.for_map - 1e-6).all()
    assert all(np.array_equal(one, was) for one, was in zip(found, before, strict=True))


def test_only_what_counts_is_searched_again():
    exact = np.linspace(0, 1, 1000, dtype=np.float32)
    asked = []

    def exactly(rows):
        asked.extend(rows.tolist())
        return (exact[rows],)

    settle((exact,), count=10, exactly=exactly, combine=lambda found: PatchDistances.alike(found[0]))
    assert sorted(asked) == list(range(982, 1000))


def test_nothing_outside_a_mask_is_searched_again():
    distances = np.zeros(100, np.float32)
    distances[3] = 1
    asked = []

    def exactly(rows):
        asked.extend(rows.tolist())
        return (distances[rows],)

    settle((distances,), count=10, exactly=exactly, combine=lambda found: PatchDistances.alike(found[0]))
    assert asked == [3]


@given(st.integers(0, 10**5), st.integers(1, 200), st.floats(0.001, 1), st.sampled_from(STATISTICS))
def test_what_the_score_depends_on(seed, patches, fraction, statistic):
    distances = np.random.default_rng(seed).random(patches)
    count = scored_count(patches, fraction, statistic)
    changed = distances.copy()
    changed[np.argsort(-distances)[count:]] = 0
    assert image_score(changed, fraction, statistic) == image_score(distances, fraction, statistic)
