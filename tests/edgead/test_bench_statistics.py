"""The statistics of a benchmark, and what is said of doubtful ones."""

from typing import ClassVar

import msgspec
import numpy as np
import pytest
from edgead_runtime.enrollment import ignore_progress
from edgead_runtime.errors import PictureError

from edgead.jobs.bench.machine import Machine
from edgead.jobs.bench.measuring import caller_counts, latencies, throughput
from edgead.jobs.bench.remarks import remarks, temperature_remark
from edgead.jobs.bench.statistics import paired_ratio, spread, unpaired_ratio

QUIET = Machine(
    cpu="a processor", flags=(), cores=2, usable_cores=2.0, load=0.1, system="", python="", versions={},
    environment={},
)  # fmt: skip


def test_percentiles_lie_on_straight_lines_between_the_times():
    times = spread(list(range(101)))
    assert (times.p50_ms, times.p95_ms, times.p99_ms, times.max_ms) == (50, 95, 99, 100)
    assert spread([1.0, 2.0]).p95_ms == pytest.approx(1.95)
    assert spread([7.0]) == spread([7.0, 7.0])
    with pytest.raises(ValueError, match="no times"):
        spread([])


def test_a_ratio_of_turns_does_not_see_what_slowed_both():
    random = np.random.default_rng(0)
    load = random.uniform(1, 5, 200)
    slow, fast = 2 * load, load
    paired = paired_ratio(slow, fast)
    assert paired.ratio == pytest.approx(2)
    assert paired.high - paired.low < 1e-9
    unpaired = unpaired_ratio(slow, fast)
    assert unpaired.high - unpaired.low > 0.2
    assert paired.is_clear


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    inside = 0
    for trial in range(100):
        found = unpaired_ratio(random.normal(11, 1, 80), random.normal(10, 1, 80), seed=trial)
        inside += found.low <= 1.1 <= found.high
    assert 88 <= inside <= 100


def test_equal_series_are_no_clear_difference():
    random = np.random.default_rng(2)
    found = paired_ratio(random.normal(10, 1, 50), random.normal(10, 1, 50))
    assert not found.is_clear
    assert paired_ratio([1.0, 2.0], [1.0, 2.0], seed=3) == paired_ratio([1.0, 2.0], [1.0, 2.0], seed=3)


def test_turns_have_two_times():
    with pytest.raises(ValueError, match="two times"):
        paired_ratio([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="no times"):
        unpaired_ratio([], [1.0])


def test_a_quiet_run_needs_no_remark():
    assert remarks(QUIET, [10.0] * 200, growth_mb=0.2) == []


@pytest.mark.parametrize(
    ("machine", "totals", "growth", "part"),
    [
        (msgspec.structs.replace(QUIET, load=3.4), [10.0] * 200, 0, "load of 3.4 on 2 usable"),
        (QUIET, [10.0] * 180 + [40.0] * 20, 0, "uneven"),
        (QUIET, [10.0] * 20, 0, "p99 of 20 frames"),
        (QUIET, list(np.linspace(10, 13, 200)), 0, "slower while it ran"),
        (msgspec.structs.replace(QUIET, governor="powersave"), [10.0] * 200, 0, "powersave"),
        (QUIET, [10.0] * 200, 300, "grew by 300 MB"),
    ],
)
def test_what_makes_figures_doubtful_is_said(machine, totals, growth, part):
    (found,) = [remark for remark in remarks(machine, totals, growth) if part in remark]
    assert found.endswith(".")


def test_cores_that_the_host_took_are_said():
    (found,) = remarks(QUIET, [10.0] * 200, 0, stolen_share=0.12)
    assert "virtual machine" in found
    assert "12%" in found
    assert remarks(QUIET, [10.0] * 200, 0, stolen_share=0.01) == []
    assert remarks(QUIET, [10.0] * 200, 0, stolen_share=None) == []


def test_temperatures_before_and_after():
    assert temperature_remark({"cpu": 48.0, "gone": 1.0}, {"cpu": 61.2}) == "cpu 48 to 61 C"


def test_callers_that_are_tried():
    assert caller_counts(0.5) == [1, 2]
    assert caller_counts(2) == [1, 2]
    assert caller_counts(64) == [1, 2, 8]


def test_a_frame_that_fails_in_a_thread_is_an_error_of_the_run():
    def detector(frame):
        raise PictureError("a frame is bad", "Take another.")

    with pytest.raises(PictureError, match="bad"):
        throughput(detector, [np.zeros((2, 2, 3), np.uint8)], callers=2, count=100)


def test_turns_are_shared_and_each_is_first_equally_often():
    called = []

    class Answer:
        map = None
        timings_ms: ClassVar = {"encode": 1.0}

    def detector(name):
        return lambda frame: called.append(name) or Answer()

    columns = latencies([detector("a"), detector("b")], [None], 4, "measure", ignore_progress)
    assert called == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [list(each) for each in columns] == [["encode", "total"]] * 2
    assert columns[0]["encode"] == [1.0] * 4
