"""Batched zero-shot: cases by hand, and blocks against everything at once."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from edgead_runtime import get_recipe
from edgead_runtime.batch_zero_shot import batch_distances
from hypothesis import given, settings
from hypothesis import strategies as st

CLOSEST = get_recipe("anomalydino")
WORST = get_recipe("patchead").with_(distance="cosine")


def on_a_circle(*pictures):
    """Pictures ``[n, N, 2]`` whose patches are unit vectors at these degrees."""
    angles = np.radians(np.array(pictures, dtype=np.float64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=2).astype(np.float32)


def whole_numbers(random, pictures, patches, values=5, dim=3):
    """Patches whose products come out the same in any order, with many ties; not of unit length."""
    tokens = random.integers(-values, values + 1, (pictures, patches, dim)).astype(np.float32)
    return tokens / np.float32(128)


def brute_force(tokens, index, recipe):
    """Every distance held at once, one patch after the other."""
    others = np.delete(tokens, index, axis=0)
    found = []
    for patch in tokens[index]:
        distances = np.clip(1 - others @ patch, 0, 2).astype(np.float32)  # [n - 1, N]
        if recipe.batch_rule == "closest-share":
            ordered = np.sort(distances.ravel())
            limit = ordered[max(int(recipe.batch_share * ordered.size), 1) - 1]
            below = ordered[ordered < limit]
            found.append(below.mean(dtype=np.float64) if below.size else limit)
        else:
            nearest = np.sort(distances, axis=1)[:, : recipe.neighbours].mean(axis=1, dtype=np.float64)
            count = max(1, round(recipe.batch_share * len(nearest)))
            found.append(np.sort(nearest.astype(np.float32))[-count:].mean(dtype=np.float64))
    return np.array(found, dtype=np.float32)


def test_the_mean_of_what_is_strictly_below_the_share():
    tokens = on_a_circle([0, 180], [60, 90], [60, 180], [30, 300])
    # From 0 degrees the others are 30, 60, 60, 60 (300), 90 and 180 away.
    away = 1 - np.cos(np.radians([30, 60, 60, 60, 90, 180]))
    for rank, expected in [
        (1, away[0]),
        (2, away[0]),
        (4, away[0]),
        (5, away[:4].mean()),
        (6, away[:5].mean()),
    ]:
        recipe = CLOSEST.with_(batch_share=rank / 6)
        assert batch_distances(tokens, 0, recipe)[0] == pytest.approx(expected, abs=1e-6)


def test_a_share_of_less_than_one_patch_is_one():
    tokens = on_a_circle([0, 20], [60, 90], [45, 180])
    found = batch_distances(tokens, 0, CLOSEST)
    assert found == pytest.approx(1 - np.cos(np.radians([45, 25])), abs=1e-6)


def test_where_nothing_is_below_the_limit_it_is_the_limit():
    tokens = on_a_circle([0, 0], [60, 60], [60, 60])
    found = batch_distances(tokens, 0, CLOSEST.with_(batch_share=0.75))
    assert found == pytest.approx([0.5, 0.5], abs=1e-6)


def test_the_mean_over_the_pictures_it_is_farthest_from():
    tokens = on_a_circle([0, 10], [60, 90], [90, 100], [0, 180], [120, 240])
    closest = 1 - np.cos(np.radians([60, 90, 0, 120]))  # from 0 degrees to each other picture
    for share, expected in [(0.01, closest[3]), (0.5, closest[[1, 3]].mean()), (1.0, closest.mean())]:
        recipe = WORST.with_(batch_share=share)
        assert batch_distances(tokens, 0, recipe)[0] == pytest.approx(expected, abs=1e-6)


def test_several_neighbours_in_each_picture():
    tokens = on_a_circle([0, 0], [60, 90], [90, 180])
    recipe = WORST.with_(batch_share=1.0, neighbours=2)
    assert batch_distances(tokens, 0, recipe)[0] == pytest.approx((0.5 + 1 + 1 + 2) / 4, abs=1e-6)
    more_than_there_are = recipe.with_(neighbours=9)
    assert batch_distances(tokens, 0, more_than_there_are)[0] == pytest.approx(1.125, abs=1e-6)


def test_the_scale_is_the_recipes():
    tokens = on_a_circle([0, 20], [60, 90], [45, 180])
    whole = batch_distances(tokens, 1, CLOSEST)
    assert np.array_equal(batch_distances(tokens, 1, CLOSEST.with_(distance="half-cosine")), whole / 2)


def test_a_picture_is_not_compared_with_itself():
    tokens = on_a_circle([0, 10], [90, 100], [180, 190])
    for index in range(3):
        assert batch_distances(tokens, index, CLOSEST).min() > 0.8


def test_what_is_not_wanted_is_0_and_changes_nothing_else():
    tokens = whole_numbers(np.random.default_rng(3), 4, 6)
    wanted = np.array([True, False, True, True, False, False])
    for recipe in (CLOSEST, WORST):
        found = batch_distances(tokens, 2, recipe, wanted=wanted)
        assert np.array_equal(found, np.where(wanted, batch_distances(tokens, 2, recipe), 0))
    assert not batch_distances(tokens, 2, CLOSEST, wanted=np.zeros(6, dtype=bool)).any()


def test_one_picture_is_no_batch():
    with pytest.raises(ValueError, match="two pictures"):
        batch_distances(on_a_circle([0, 10]), 0, CLOSEST)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    pictures=st.integers(2, 9),
    patches=st.integers(1, 12),
    values=st.sampled_from([1, 2, 60]),
    share=st.sampled_from([0.001, 0.02, 0.1, 0.3, 0.7, 1.0]),
    similarities=st.sampled_from([1, 7, 30, 150, 10_000]),
    neighbours=st.integers(1, 3),
    rule=st.sampled_from(["closest-share", "worst-references"]),
)
def test_in_blocks_as_all_at_once(seed, pictures, patches, values, share, similarities, neighbours, rule):
    random = np.random.default_rng(seed)
    tokens = whole_numbers(random, pictures, patches, values)
    recipe = replace(CLOSEST, batch_rule=rule, batch_share=share, neighbours=neighbours)
    index = int(random.integers(pictures))
    found = batch_distances(tokens, index, recipe, similarities=similarities)
    assert np.array_equal(found, brute_force(tokens, index, recipe))


@pytest.mark.parametrize("ordered", ["falling", "rising", "as they come"])
def test_many_blocks_that_fill_the_buffer_again_and_again(ordered):
    """Rising similarities make every patch a candidate; falling ones hardly any."""
    random = np.random.default_rng(5)
    tokens = whole_numbers(random, 160, 16, values=64)
    if ordered != "as they come":
        by_first = np.argsort(tokens[1:, :, 0].mean(axis=1))
        tokens[1:] = tokens[1:][by_first if ordered == "rising" else by_first[::-1]]
    tokens[0, :8] = np.float32([0.5, 0, 0])
    recipe = CLOSEST.with_(batch_share=0.05)
    found = batch_distances(tokens, 0, recipe, similarities=1024)
    assert np.array_equal(found, brute_force(tokens, 0, recipe))


@pytest.mark.parametrize("recipe", [CLOSEST, WORST], ids=lambda recipe: recipe.batch_rule)
def test_memory_stays_under_the_formula(recipe):
    pictures, patches, dim, similarities = 120, 64, 32, 1 << 15
    random = np.random.default_rng(0)
    tokens = random.standard_normal((pictures, patches, dim)).astype(np.float32)
    block = similarities // patches**2
    rank = int(recipe.batch_share * patches * (pictures - 1))
    kept = 4 * patches * (rank + max(rank, 64)) if recipe is CLOSEST else pictures * patches
    tracemalloc.start()
    batch_distances(tokens, 0, recipe, similarities=similarities)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * (block * patches * dim + 3 * block * patches**2 + kept) + 50_000
