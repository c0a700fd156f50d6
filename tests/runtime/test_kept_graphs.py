"""Graphs in the cache folder: read when they are whole, made again when they are not."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from edgead_runtime import cache
from edgead_runtime.bank import normalize
from edgead_runtime.index import create_index, hnsw, kept_graphs
from edgead_runtime.index.kept_graphs import kept_or_made


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    return tmp_path / "graphs"


def _rows(count, seed=0):
    return normalize(np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32))


class Graphs:
    """Graphs that are text, and a count of how many were made."""

    def __init__(self):
        self.made = 0

    def of(self, banks, facts="a"):
        def make():
            self.made += 1
            return f"graph {self.made}"

        def write(graph, path):
            Path(path).write_text(graph)

        def read(path):
            return Path(path).read_text()

        return kept_or_made(banks, facts, read, make, write)


@pytest.fixture
def graphs():
    return Graphs()


def test_the_same_rows_are_made_once(graphs, folder):
    rows = _rows(10)
    assert graphs.of([rows]) == graphs.of([rows.copy()]) == "graph 1"
    assert sorted(path.suffix for path in folder.iterdir()) == [".graph", ".size"]


@pytest.mark.parametrize(
    ("banks", "facts"),
    [
        ([_rows(10, seed=1)], "a"),
        ([_rows(10)], "b"),
        ([_rows(10)[:9]], "a"),
        ([_rows(10)[:4], _rows(10)[4:]], "a"),
    ],
)
def test_other_rows_or_another_version_are_another_graph(graphs, banks, facts):
    graphs.of([_rows(10)])
    assert graphs.of(banks, facts) == "graph 2"
    assert graphs.of([_rows(10)]) == "graph 1"


def test_rows_that_do_not_lie_together_are_the_same_rows(graphs):
    graphs.of([_rows(10)])
    assert graphs.of([np.asfortranarray(_rows(10))]) == "graph 1"


@pytest.mark.parametrize("suffix", [".graph", ".size"])
def test_what_is_cut_short_or_gone_is_made_again(graphs, folder, suffix):
    graphs.of([_rows(10)])
    (path,) = folder.glob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:-1])
    assert graphs.of([_rows(10)]) == "graph 2"
    (path,) = folder.glob(f"*{suffix}")
    path.unlink()
    assert graphs.of([_rows(10)]) == "graph 3"
    assert graphs.of([_rows(10)]) == "graph 3"


def test_the_one_used_least_lately_goes_first(graphs, folder, monkeypatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 4 * len("graph 1"))
    ticks = iter(range(1, 1000))
    real = kept_graphs.os.utime
    monkeypatch.setattr(kept_graphs.os, "utime", lambda path: real(path, (next(ticks) + 1e9,) * 2))
    for seed in range(4):
        graphs.of([_rows(10, seed)])
        graphs.of([_rows(10, seed)])
    graphs.of([_rows(10, 0)])  # used again
    graphs.of([_rows(10, 99)])
    assert len(list(folder.glob("*.graph"))) == len(list(folder.glob("*.size"))) == 4
    made = graphs.made
    assert graphs.of([_rows(10, 0)]) == "graph 1"
    assert graphs.of([_rows(10, 99)]) == "graph 5"
    assert graphs.made == made
    assert graphs.of([_rows(10, 1)]) == "graph 6"


def test_what_a_killed_process_left_goes_after_a_day(graphs, folder):
    folder.mkdir()
    left = folder / ".edgead-0123456789abcdef.part"
    left.write_bytes(bytes(100))
    os.utime(left, (time.time() - 2 * 24 * 3600,) * 2)
    graphs.of([_rows(10)])
    assert not left.exists()


def test_a_folder_that_cannot_be_written_to_costs_time_alone(graphs, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "file"))
    assert [graphs.of([_rows(10)]) for _ in range(2)] == ["graph 1", "graph 2"]


def test_nothing_is_left_of_a_write_that_fails(folder):
    def write(graph, path):
        Path(path).write_text("half")
        raise RuntimeError("the disk is full")

    assert kept_or_made([_rows(3)], "", lambda path: "read", lambda: "made", write) == "made"
    assert list(folder.iterdir()) == []


def test_a_graph_that_was_kept_finds_what_it_found(folder, monkeypatch):
    pytest.importorskip("hnswlib", reason="hnswlib is not installed")
    banks, queries = [_rows(1000), _rows(2000, seed=2)], _rows(200, seed=1)
    found = create_index("hnsw", banks, threads=1, keep=True).nearest(queries)
    (path,) = folder.glob("*.graph")
    with monkeypatch.context() as patch:
        patch.setattr(hnsw, "_made", None)  # is not asked
        assert np.array_equal(create_index("hnsw", banks, threads=1, keep=True).nearest(queries), found)
    path.write_bytes(b"\0" * path.stat().st_size)  # of the right size, and nonsense
    assert np.array_equal(create_index("hnsw", banks, threads=1, keep=True).nearest(queries), found)
    assert not list(folder.glob(".*"))


def test_without_being_asked_nothing_is_kept(folder):
    pytest.importorskip("hnswlib", reason="hnswlib is not installed")
    create_index("hnsw", [_rows(100)])
    assert not folder.exists()
