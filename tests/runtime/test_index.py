"""Exact search against brute force."""

import numpy as np
import pytest
from edgead_runtime.bank import normalize
from edgead_runtime.index import exact, nearest_distances
from hypothesis import given, settings
from hypothesis import strategies as st


def _unit(random, rows, dim):
    return normalize(random.standard_normal((rows, dim)).astype(np.float32))


def _brute_force(queries, banks):
    stacked = np.concatenate(banks).astype(np.float64)
    return np.array([1 - max(float(query @ row) for row in stacked) for query in queries.astype(np.float64)])


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 20),
    st.integers(1, 40),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
)
def test_any_banks_against_brute_force(seed, count, dim, sizes):
    random = np.random.default_rng(seed)
    queries, banks = _unit(random, count, dim), [_unit(random, size, dim) for size in sizes]
    found = nearest_distances(queries, banks)
    assert found.shape == (count,)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.clip(_brute_force(queries, banks), 0, 2), abs=2e-6)


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 14, 15, 20])
def test_the_nearest_is_found_on_either_side_of_a_block_border(monkeypatch, rows):
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 7)
    random = np.random.default_rng(0)
    bank = _unit(random, rows, 12)
    assert nearest_distances(bank, [bank]) == pytest.approx(0, abs=1e-6)
    queries = _unit(random, 9, 12)
    assert nearest_distances(queries, [bank]) == pytest.approx(_brute_force(queries, [bank]), abs=2e-6)


def test_a_bank_larger_than_one_block():
    random = np.random.default_rng(1)
    bank = _unit(random, exact._BLOCK_ROWS + 5, 8)
    queries = bank[[0, exact._BLOCK_ROWS - 1, exact._BLOCK_ROWS, -1]]
    assert nearest_distances(queries, [bank]) == pytest.approx(0, abs=1e-6)


def test_splitting_a_bank_changes_nothing():
    random = np.random.default_rng(2)
    queries, bank = _unit(random, 30, 16), _unit(random, 100, 16)
    whole = nearest_distances(queries, [bank])
    split = nearest_distances(queries, [bank[:1], bank[1:60], bank[60:]])
    assert split == pytest.approx(whole, abs=1e-6)


def test_a_larger_bank_is_never_farther():
    random = np.random.default_rng(3)
    queries, bank, more = _unit(random, 30, 16), _unit(random, 50, 16), _unit(random, 50, 16)
    assert (nearest_distances(queries, [bank, more]) <= nearest_distances(queries, [bank])).all()


def test_the_ends_of_the_scale():
    axis = np.eye(4, dtype=np.float32)
    assert nearest_distances(axis[:1], [axis[:1]]).tolist() == [0]
    assert nearest_distances(axis[:1], [axis[1:]]).tolist() == [1]
    assert nearest_distances(axis[:1], [-axis[:1]]).tolist() == [2]
    slightly_long = axis[:1] * np.float32(1.0001)
    assert nearest_distances(slightly_long, [slightly_long]).tolist() == [0]  # never below


def test_nothing_to_search_in():
    with pytest.raises(ValueError, match="nothing"):
        nearest_distances(np.ones((1, 4), np.float32), [])


def test_a_zero_token_stays_zero():
    tokens = np.array([[3, 4], [0, 0]], np.float32)
    assert normalize(tokens) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
    assert nearest_distances(normalize(tokens), [normalize(tokens[:1])]).tolist() == pytest.approx([0, 1])


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**16))
def test_several_neighbours_are_averaged(neighbours, rows, seed):
    rng = np.random.default_rng(seed)
    queries = _unit(rng, 5, 8)
    banks = [_unit(rng, rows, 8) for _ in range(2)]
    distances = np.sort(1 - queries.astype(np.float64) @ np.concatenate(banks).T, axis=1)
    expected = distances[:, :neighbours].mean(axis=1)
    assert nearest_distances(queries, banks, neighbours) == pytest.approx(expected, abs=2e-6)
