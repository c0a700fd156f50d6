"""From times and agreement to a choice: the parts of a tuning that no machine decides."""

from types import SimpleNamespace

import numpy as np
import pytest
from edgead_runtime.agreement import rank_correlation
from edgead_runtime.errors import EdgeadError
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from edgead.jobs.tune.cascades import Looked, try_cascade
from edgead.jobs.tune.choose import MOST_STORED, Point, choose, ladder, pareto_front
from edgead.jobs.tune.fidelity import Scene
from edgead.jobs.tune.settings import engine_names
from edgead.jobs.tune.timing import times_in_turns
from edgead.report.tune_chart import TunedPoint, draw_tune

FULL, BF16, SMALL, TINY = Point(100, 1.0), Point(60, 0.99), Point(30, 0.8), Point(8, 0.5)
points = st.lists(st.builds(Point, st.floats(1, 200), st.floats(0, 1)), min_size=1, max_size=9)


def test_the_most_faithful_that_holds_is_chosen():
    every = [FULL, BF16, SMALL, TINY]
    assert [choose(every, budget) for budget in (150, 99, 59, 29, 7)] == [
        (0, True),
        (1, True),
        (2, True),
        (3, True),
        (3, False),
    ]


def test_of_those_as_faithful_the_fastest_is():
    assert choose([FULL, Point(60, 0.9995), Point(30, 0.9)], 200) == (1, True)


def test_what_is_slower_and_no_closer_is_not_on_the_front():
    every = [FULL, BF16, Point(70, 0.9), SMALL, Point(30, 0.8), TINY]
    assert pareto_front(every) == [0, 1, 3, 5]


@given(points)
def test_everything_off_the_front_is_beaten_by_something_on_it(every):
    front = pareto_front(every)
    assert front
    for index, point in enumerate(every):
        beaten = any(
            every[on].p99_ms <= point.p99_ms and every[on].map_rank >= point.map_rank for on in front
        )
        assert beaten
        assert index in front or beaten
    times = [every[on].p99_ms for on in front]
    assert times == sorted(times, reverse=True)


@given(points, st.floats(1, 200))
def test_the_full_setting_and_the_chosen_one_are_always_stored(every, budget):
    every = [Point(150, 1.0), *every]
    chosen, _ = choose(every, budget)
    stored = ladder(every, chosen)
    assert stored[0] == 0
    assert chosen in stored
    assert len(stored) == len(set(stored)) <= MOST_STORED
    times = [every[index].p99_ms for index in stored[1:]]
    assert times == sorted(times, reverse=True)


def test_of_many_settings_those_far_apart_are_stored():
    every = [FULL, Point(95, 0.99), Point(60, 0.98), Point(30, 0.9), Point(25, 0.89), Point(10, 0.5)]
    assert ladder(every, 0) == [0, 2, 3, 5]
    assert ladder(every, 1) == [0, 1, 3, 5]


def test_a_step_that_is_too_small_is_not_worth_its_memory():
    assert ladder([FULL, Point(95, 0.99), Point(11, 0.6), Point(10, 0.5)], 0) == [0, 3]


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-5, 5)), min_size=3, max_size=30))
def test_the_rank_correlation_is_scipys(pairs):
    one, other = np.array(pairs, dtype=np.float64).T
    if np.ptp(one) and np.ptp(other):
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-9)


def test_the_rank_correlation_of_constants():
    assert rank_correlation([1, 1, 1], [2, 2, 2]) == 1
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0


class Seen:
    """As much of a result as a cascade looks at."""

    def __init__(self, times_threshold):
        self.times_threshold = times_threshold
        self.patch_distances = np.arange(9, dtype=np.float32).reshape(3, 3)
        self.mask = None


def cascade(good, defective):
    """A cascade of 8 good pictures and defects that score so in (small, full)."""
    pairs = [*good, *defective]
    scenes = [Scene(None, 0, index >= len(good)) for index in range(len(pairs))]
    small = Looked("small", [Seen(one) for one, _ in pairs], [10.0] * 20)
    full = Looked("full", [Seen(two) for _, two in pairs], [100.0] * 20)
    return try_cascade(full, small, scenes)


def test_a_cascade_that_agrees_saves_nearly_everything():
    row = cascade([(0.5, 0.55), (0.8, 0.75), (0.6, 0.6), (0.99, 0.98)], [(2.0, 2.5)] * 16)
    assert row.low == pytest.approx(0.5 / 0.55)
    assert row.second_looks_good == 0.25
    assert row.usual_ms == pytest.approx(10 + 25)
    assert row.worst_ms == pytest.approx(110)
    assert (row.tried, row.missed) == (8, 0)
    assert row.fidelity.same_verdict == 1
    assert row.stored


def test_what_the_other_half_of_the_defects_shows_is_said():
    """The first four of each eight set the band; what is only in the others is missed, and counted."""
    row = cascade([(0.5, 0.5), (0.8, 0.8)], [*[(2.0, 2.0)] * 4, *[(0.3, 1.5)] * 4] * 2)
    assert (row.tried, row.missed) == (8, 8)
    assert row.fidelity.same_verdict == pytest.approx(10 / 18)


def test_a_small_look_that_sees_nothing_is_no_gain():
    row = cascade([(0.5, 0.5), (0.8, 0.8)], [(0.1, 1.5)] * 8)
    assert row.second_looks_good == 1
    assert not row.stored


def test_one_good_picture_makes_no_cascade():
    assert cascade([(0.5, 0.5)], [(2.0, 2.0)] * 8) is None


def test_engines_are_those_asked_for_or_the_pinned_one(monkeypatch):
    assert engine_names([]) == ("onnxruntime",)
    with pytest.raises(EdgeadError, match="unknown engine 'fast'"):
        engine_names(["fast"])
    monkeypatch.delenv("EDGEAD_ENGINE")
    assert "onnxruntime" in engine_names([])
    monkeypatch.setattr("edgead.jobs.tune.settings.find_spec", lambda _: None)
    with pytest.raises(EdgeadError, match="is installed"):
        engine_names([])


class Looking:
    """As much of a detector as timing asks for; notes what it was shown."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def __call__(self, frame):
        self.log.append((self.name, frame))
        return SimpleNamespace(map=None, timings_ms={"encode": 1.0})


def test_settings_take_turns_of_ten_frames_of_which_the_first_is_not_counted():
    log = []
    times = times_in_turns([Looking("a", log), Looking("b", log)], ["x", "y", "z"], 14, "", lambda *_: None)
    assert [len(taken) for taken in times] == [14, 14]
    assert [name for name, _ in log] == ["a"] * 11 + ["b"] * 11 + ["a"] * 5 + ["b"] * 5
    shown = [frame for name, frame in log if name == "a"]
    assert shown == [frame for name, frame in log if name == "b"]
    assert shown[1:11] + shown[12:] == list("xyzxyzxyzxyzxy")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_is_drawn_whatever_lies_where(suffix):
    drawn = [
        TunedPoint(f"setting {number}", 20.0, 20.0 + number, rank, number % 2 == 0, number == 2)
        for number, rank in enumerate((1.0, 1.0, 0.2, 0.2, -0.3))
    ]
    assert len(draw_tune("A part: 33 ms", ["One line"], drawn, 33, suffix)) > 1000
