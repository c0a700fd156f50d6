"""What is kept in the cache folder: no more than so much, and nothing of processes that were killed."""

import os
import time

import msgspec
import pytest
from edgead_runtime import cache
from edgead_runtime.cache import trim
from edgead_runtime.remembered import MOST_ENTRIES, recall, remember

DAY = 24 * 3600


class Fact(msgspec.Struct):
    number: int


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Files of 10 bytes each with its proof, the last one used last; room for 25 bytes."""
    monkeypatch.setattr(cache, "MOST_BYTES", 25)
    for age, name in enumerate("dcba"):
        (tmp_path / f"{name}.graph").write_bytes(bytes(10))
        (tmp_path / f"{name}.size").write_text("10")
        os.utime(tmp_path / f"{name}.graph", (1e9 - age, 1e9 - age))
    (tmp_path / "other.cache").write_bytes(bytes(100))
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_used_least_lately_goes_first(kept):
    trim(kept, ".graph", ".size")
    assert names(kept) == ["c.graph", "c.size", "d.graph", "d.size", "other.cache"]


def test_the_last_one_stays_whatever_its_size(kept):
    (kept / "d.graph").write_bytes(bytes(1000))
    trim(kept, ".graph", ".size")
    assert names(kept) == ["d.graph", "d.size", "other.cache"]


def test_what_fits_stays(kept, monkeypatch):
    before = names(kept)
    monkeypatch.setattr(cache, "MOST_BYTES", 40)
    trim(kept, ".graph", ".size")
    assert names(kept) == before


def _leave_behind(folder, name, age_s):
    path = folder / name
    path.write_bytes(bytes(10))
    os.utime(path, (time.time() - age_s,) * 2)


@pytest.mark.parametrize("work", ["trim", "remember"])
def test_what_killed_processes_left_goes_after_a_day(tmp_path, work):
    _leave_behind(tmp_path, ".edgead-0123456789abcdef.part", DAY + 60)
    _leave_behind(tmp_path, ".edgead-1123456789abcdef.part", DAY - 60)  # somebody may be writing it
    _leave_behind(tmp_path, ".edgead-notes", DAY + 60)
    _leave_behind(tmp_path, "x.part", DAY + 60)
    (tmp_path / ".edgead-2123456789abcdef.old").mkdir()
    os.utime(tmp_path / ".edgead-2123456789abcdef.old", (0, 0))
    before = names(tmp_path)
    if work == "trim":
        trim(tmp_path, ".graph", ".size")
    else:
        remember(tmp_path / "facts.json", "a", Fact(1))
    assert set(before) - set(names(tmp_path)) == {".edgead-0123456789abcdef.part"}


def test_a_folder_that_is_not_there(tmp_path):
    trim(tmp_path / "gone", ".graph", ".size")
    assert names(tmp_path) == []


def test_measurements_are_forgotten_the_oldest_first(tmp_path):
    path = tmp_path / "facts.json"
    for number in range(MOST_ENTRIES):
        remember(path, f"key {number}", Fact(number))
    remember(path, "key 0", Fact(0))  # measured again
    remember(path, "one more", Fact(-1))
    known = recall(path, Fact)
    assert len(known) == MOST_ENTRIES
    assert "key 1" not in known
    assert known["key 0"] == Fact(0)
    assert known["one more"] == Fact(-1)
