"""What every index must keep, and what each one is."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from edgead_runtime import index as indexes
from edgead_runtime.bank import normalize
from edgead_runtime.errors import IndexUnavailableError
from edgead_runtime.index import (
    EXACT,
    INDEXES,
    GrowingIndex,
    IndexSpec,
    clusters,
    create_index,
    growing,
    nearest_distances,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(params=[EXACT, *INDEXES])
def name(request):
    spec = INDEXES.get(request.param)
    if spec is not None and spec.requires is not None:
        pytest.importorskip(spec.requires, reason=f"{spec.requires} is not installed")
    return request.param


def unit(random, rows, dim=16):
    return normalize(random.standard_normal((rows, dim)).astype(np.float32))


def lumps(random, rows, dim=16):
    """Rows in clusters, as patches of a part are; the same clusters every time."""
    centers = unit(np.random.default_rng(7), 20, dim)
    return normalize(centers[random.integers(0, 20, rows)] + 0.3 * unit(random, rows, dim))


# -- the contract ----------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(0, 700), min_size=1, max_size=4))
def test_never_too_near(seed, sizes):
    """The distance is that to a row: what an index misses makes it larger, and nothing makes it smaller."""
    random = np.random.default_rng(seed)
    banks = [unit(random, size) for size in [*sizes, 1]]
    queries = unit(random, 7)
    exact = nearest_distances(queries, banks)
    for name in indexes.installed_indexes():
        found = create_index(name, banks).nearest(queries)
        assert found.shape == (7,)
        assert found.dtype == np.float32
        assert (found >= exact - 2e-6).all()
        to_each = 1 - queries @ np.concatenate(banks).T
        assert (np.abs(to_each - found[:, None]).min(axis=1) < 2e-6).all()


def test_a_row_of_the_bank_is_found(name):
    random = np.random.default_rng(0)
    bank = lumps(random, 3000)
    found = create_index(name, [bank[:1000], bank[1000:]], threads=1).nearest(bank[::30])
    assert found == pytest.approx(0, abs=1e-6)


def test_most_of_the_nearest_are_found(name):
    random = np.random.default_rng(1)
    bank, queries = lumps(random, 6000), lumps(random, 500)
    exact = nearest_distances(queries, [bank])
    found = create_index(name, [bank], threads=1).nearest(queries)
    assert (found <= exact + 1e-6).mean() > 0.8
    assert create_index(name, [bank]).exact is (name == EXACT)


def test_a_bank_without_a_row(name):
    if name == EXACT:
        pytest.skip("exact search refuses it")
    queries = unit(np.random.default_rng(0), 3)
    assert create_index(name, [queries[:0]]).nearest(queries).tolist() == [2, 2, 2]


def test_a_bank_of_one_row_and_one_query(name):
    axis = np.eye(4, dtype=np.float32)
    assert create_index(name, [axis[:1]]).nearest(axis[:1]).tolist() == pytest.approx([0], abs=1e-6)
    assert create_index(name, [axis[:1]]).nearest(-axis[:1]).tolist() == pytest.approx([2], abs=1e-6)


def test_from_several_threads(name):
    random = np.random.default_rng(2)
    bank, queries = lumps(random, 2000), [lumps(random, 50) for _ in range(24)]
    index = create_index(name, [bank], threads=1)
    alone = [index.nearest(one) for one in queries]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(index.nearest, queries))
    assert all(np.allclose(one, other, atol=2e-6) for one, other in zip(alone, together, strict=True))


def test_what_it_takes_in_memory(name):
    bank = unit(np.random.default_rng(0), 1000)
    nbytes = create_index(name, [bank]).nbytes
    assert nbytes == 0 if name == EXACT else nbytes >= bank.nbytes


def test_names():
    with pytest.raises(IndexUnavailableError, match="unknown index 'kd-tree'"):
        create_index("kd-tree", [np.eye(2, dtype=np.float32)])


def test_a_package_that_is_missing(monkeypatch):
    spec = IndexSpec("absent", "nowhere", "no_such_package", "get it", "")
    monkeypatch.setitem(INDEXES, "absent", spec)
    with pytest.raises(IndexUnavailableError, match="needs no_such_package") as caught:
        create_index("absent", [np.eye(2, dtype=np.float32)])
    assert "get it" in caught.value.remedy
    assert "absent" not in indexes.installed_indexes()


# -- growing ---------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """Exact, and counts how often it was built."""

    exact = False
    banks: tuple
    nbytes = 0

    def nearest(self, queries):
        return nearest_distances(queries, self.banks)


def test_it_is_built_again_only_when_much_is_new(monkeypatch):
    monkeypatch.setattr(growing, "_NEW_ROWS", 30)
    built = []

    def build(banks, _threads):
        built.append(len(banks))
        return Counted(tuple(banks))

    random = np.random.default_rng(3)
    banks = [unit(random, 100), unit(random, 20), unit(random, 20)]
    queries = unit(random, 5)
    index = GrowingIndex(build(banks[:1], None), tuple(banks[:1]), (), build, None)
    one_more = index.following(banks[:2])
    assert built == [1]
    assert one_more.nearest(queries) == pytest.approx(nearest_distances(queries, banks[:2]))
    assert one_more.following(banks[:1]).nearest(queries) == pytest.approx(
        nearest_distances(queries, banks[:1])
    )
    assert built == [1]
    many = one_more.following(banks)
    assert built == [1, 3]
    assert many.nearest(queries) == pytest.approx(nearest_distances(queries, banks))
    fewer = many.following(banks[:2])  # what was built knows too much
    assert built == [1, 3, 2]
    assert fewer.nearest(queries) == pytest.approx(nearest_distances(queries, banks[:2]))
    other = fewer.following([banks[0], banks[2]])
    assert built == [1, 3, 2, 2]
    assert other.nearest(queries) == pytest.approx(nearest_distances(queries, [banks[0], banks[2]]))


# -- clusters --------------------------------------------------------------------------------------------


def test_clusters_hold_every_row_once_and_beside_their_center():
    random = np.random.default_rng(4)
    bank = lumps(random, 5000)
    index = clusters.build([bank[:10], bank[10:]])
    assert len(index.centers) == pytest.approx(5000 / clusters.ROWS_PER_CLUSTER, rel=0.2)
    assert np.linalg.norm(index.centers, axis=1) == pytest.approx(1, abs=1e-5)
    assert sorted(map(tuple, index.rows)) == sorted(map(tuple, bank))
    of_row = np.repeat(np.arange(len(index.centers)), np.diff(index.starts))
    assert np.array_equal((index.rows @ index.centers.T).argmax(axis=1), of_row)


def test_the_same_bank_gives_the_same_clusters():
    bank = lumps(np.random.default_rng(5), 3000)
    one, other = clusters.build([bank]), clusters.build([bank])
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.starts, other.starts)


def test_searching_all_clusters_is_exact(monkeypatch):
    monkeypatch.setattr(clusters, "_PROBES", 10**6)
    random = np.random.default_rng(6)
    bank, queries = unit(random, 3000), unit(random, 40)
    assert clusters.build([bank]).nearest(queries) == pytest.approx(
        nearest_distances(queries, [bank]), abs=1e-6
    )
