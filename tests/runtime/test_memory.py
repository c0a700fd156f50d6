"""Distances to references with several views, against loops."""

import numpy as np
import pytest
from edgead_runtime import get_recipe
from edgead_runtime.bank import normalize
from edgead_runtime.memory import bank_distances
from hypothesis import given
from hypothesis import strategies as st

PLAIN = get_recipe("anomalydino-informed")


def _unit(random, rows):
    return normalize(random.standard_normal((rows, 6)).astype(np.float32))


def _by_loops(tokens, banks, patches, recipe):
    found = []
    for token in tokens.astype(np.float64):
        references = []
        for bank in banks:
            views = []
            for start in range(0, len(bank), patches):
                nearest = np.sort(1 - bank[start : start + patches].astype(np.float64) @ token)
                views.append(nearest[: recipe.neighbours].mean())
            references.append(np.mean(views) if recipe.view_reduction == "mean" else min(views))
        references.sort()
        if recipe.reduction == "nearest":
            found.append(references[0])
        else:
            count = recipe.worst_count or max(1, round(recipe.worst_share * len(banks)))
            found.append(np.mean(references[-count:]))
    return np.array(found)


@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from(["nearest", "mean"]),
    st.sampled_from(["nearest", "worst-references"]),
    st.sampled_from([None, 1, 2]),
)
def test_every_reduction(seed, references, views, view_reduction, reduction, worst_count):
    random = np.random.default_rng(seed)
    patches = 7
    tokens = _unit(random, patches)
    banks = [_unit(random, views * patches) for _ in range(references)]
    recipe = PLAIN.with_(view_reduction=view_reduction, reduction=reduction, worst_count=worst_count)
    expected = _by_loops(tokens, banks, patches, recipe)
    assert bank_distances(tokens, banks, patches, recipe) == pytest.approx(expected, abs=1e-5)


def test_neighbours_are_sought_in_each_view():
    random = np.random.default_rng(1)
    tokens, banks = _unit(random, 5), [_unit(random, 20), _unit(random, 20)]
    recipe = PLAIN.with_(view_reduction="mean", neighbours=3)
    assert bank_distances(tokens, banks, 5, recipe) == pytest.approx(
        _by_loops(tokens, banks, 5, recipe), abs=1e-5
    )
