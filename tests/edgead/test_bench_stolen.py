"""What a virtual machine's host took, from the kernel's own count."""

import pytest

from edgead.jobs.bench.stolen import StolenTime


def _write(root, line):
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(f"{line}\ncpu0 1 1 1 1 1 1 1 1 0 0\n")


def test_the_share_is_of_the_time_of_all_cores(tmp_path):
    _write(tmp_path, "cpu  100 5 20 1000 3 1 2 50 7 0")
    clock = StolenTime(tmp_path)
    _write(tmp_path, "cpu  250 5 30 1020 3 1 2 70 90 0")  # 150 + 10 + 20 + 20 ticks, of which 20 stolen
    assert clock.share() == pytest.approx(0.1)


def test_a_guest_of_our_own_is_not_counted_twice(tmp_path):
    _write(tmp_path, "cpu  0 0 0 0 0 0 0 0 0 0")
    clock = StolenTime(tmp_path)
    _write(tmp_path, "cpu  90 0 0 0 0 0 0 10 90 0")
    assert clock.share() == pytest.approx(0.1)


@pytest.mark.parametrize("line", ["", "intr 1 2 3", "cpu 1 2 3", "cpu a b c d e f g h"])
def test_what_the_kernel_does_not_tell_is_left_open(tmp_path, line):
    _write(tmp_path, line)
    assert StolenTime(tmp_path).share() is None


def test_no_such_file_and_no_time(tmp_path):
    assert StolenTime(tmp_path).share() is None
    _write(tmp_path, "cpu  1 1 1 1 1 1 1 1 1 1")
    assert StolenTime(tmp_path).share() is None
