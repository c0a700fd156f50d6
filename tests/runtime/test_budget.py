"""The controller, fed with times: it steps down, comes back, and does not flap."""

import itertools
import math

import pytest
from edgead_runtime.budget import CLEARLY_FASTER, ROOM, UP_AFTER, WINDOW, BudgetController, check_budget
from edgead_runtime.errors import EdgeadError
from hypothesis import given, settings
from hypothesis import strategies as st

EXPECTED = (40.0, 20.0, 8.0)


def feed(controller, time_of, frames):
    """Run so many frames; returns their settings and times."""
    seen = []
    for number in range(frames):
        setting = controller.setting
        ms = time_of(setting, number)
        controller.observe(setting, ms)
        seen.append((setting, ms))
    return seen


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf])
def test_what_is_no_budget_is_refused(budget):
    with pytest.raises(EdgeadError, match="makes no sense"):
        check_budget(budget)


@pytest.mark.parametrize(("budget", "start"), [(100, 0), (48, 0), (47, 1), (24, 1), (23, 2), (1, 2)])
def test_it_begins_with_the_best_that_is_expected_to_hold(budget, start):
    assert BudgetController(budget, EXPECTED).setting == start


def test_one_late_frame_in_a_hundred_is_allowed():
    controller = BudgetController(50, EXPECTED, start=0)
    feed(controller, lambda _, number: 200.0 if number % WINDOW == 0 else 40.0, 5 * WINDOW)
    assert controller.setting == 0
    assert controller.switches == 0


def test_two_late_frames_in_a_hundred_are_not():
    controller = BudgetController(50, EXPECTED, start=0)
    feed(controller, lambda _, number: 51.0 if number in (3, 102) else 40.0, 103)
    assert controller.setting == 1


def test_a_late_frame_is_forgotten_after_a_hundred():
    controller = BudgetController(50, EXPECTED, start=0)
    feed(controller, lambda _, number: 51.0 if number in (3, 103) else 40.0, 300)
    assert controller.setting == 0


def test_a_machine_that_is_three_times_slower_skips_what_cannot_hold():
    controller = BudgetController(50, EXPECTED, start=0)
    feed(controller, lambda setting, _: 3 * EXPECTED[setting], 2)
    assert controller.setting == 2


def test_p99_holds_after_a_slowdown_and_everything_comes_back():
    controller = BudgetController(50, EXPECTED, start=0)
    slow = feed(controller, lambda setting, _: 2 * EXPECTED[setting], 1000)
    assert sum(ms > 50 for _, ms in slow) == 2
    assert controller.setting == 1
    quick = feed(controller, lambda setting, _: EXPECTED[setting], 2 * UP_AFTER)
    assert controller.setting == 0
    assert all(ms <= 50 for _, ms in quick)


def test_room_must_be_there_at_p99():
    # 20 ms with an occasional 23 in the middle setting foretell 46 in the best: more than nine tenths of 50.
    controller = BudgetController(50, EXPECTED, start=1)
    feed(controller, lambda _, number: 23.0 if number % 20 == 0 else 20.0, 3000)
    assert controller.setting == 1
    assert ROOM * 50 < 46


def test_a_step_up_that_does_not_hold_is_tried_ever_more_rarely():
    # The best setting takes twice what it was expected to: the forecast is wrong, and stays wrong.
    frames = 20_000
    controller = BudgetController(50, EXPECTED, start=1)
    seen = feed(controller, lambda setting, _: 80.0 if setting == 0 else 20.0, frames)
    tries = sum(one == 1 and other == 0 for (one, _), (other, _) in itertools.pairwise(seen))
    assert 3 <= tries <= 11
    assert sum(ms > 50 for _, ms in seen) <= 2 * tries <= 0.01 * frames


def test_with_nothing_faster_it_says_that_the_budget_is_missed():
    controller = BudgetController(10, (40.0,))
    feed(controller, lambda *_: 41.0, 5)
    assert controller.is_missed
    assert controller.late == (41.0,) * 5
    feed(controller, lambda *_: 9.0, WINDOW)
    assert not controller.is_missed


@pytest.mark.parametrize(
    ("expected", "start", "budget", "ends"),
    [((30.0, 20.0, 60.0), 1, 33, 1), ((30.0, 20.0, 60.0), 2, 33, 1), ((28.0, 29.0), 0, 33, 0)],
)
def test_it_never_sticks_at_a_setting_that_is_slower_than_another(expected, start, budget, ends):
    controller = BudgetController(budget, expected, start)
    feed(controller, lambda setting, number: 40.0 if number in (0, 1, 2) else expected[setting], 3 * WINDOW)
    assert controller.setting == ends
    assert not controller.is_missed


@given(
    expected=st.lists(st.floats(1, 100), min_size=1, max_size=5),
    budget=st.floats(1, 200),
    slowdowns=st.lists(st.floats(0.5, 5), min_size=1, max_size=5),
)
def test_it_steps_down_to_what_is_expected_to_be_faster(expected, budget, slowdowns):
    controller = BudgetController(budget, expected)
    for slowdown in slowdowns:
        before = controller.setting
        seen = feed(controller, lambda setting, _, slowdown=slowdown: slowdown * expected[setting], 20)
        for setting in [*(setting for setting, _ in seen), controller.setting]:
            assert setting == before or setting < before or expected[setting] < expected[before]
            before = setting
        if controller.is_missed:
            assert CLEARLY_FASTER * expected[controller.setting] <= min(expected)


def test_a_frame_that_began_before_the_switch_says_nothing():
    controller = BudgetController(50, EXPECTED, start=0)
    feed(controller, lambda *_: 90.0, 2)
    assert controller.setting == 1
    for _ in range(10):
        controller.observe(0, 90.0)
    assert controller.setting == 1


@settings(max_examples=30)
@given(
    times=st.lists(st.floats(0.01, 500, allow_nan=False), min_size=1, max_size=60),
    expected=st.lists(st.floats(0.1, 200), min_size=1, max_size=5),
    budget=st.floats(1, 100),
)
def test_switches_are_bounded_whatever_the_times(times, expected, budget):
    controller = BudgetController(budget, sorted(expected, reverse=True))
    frames = 12 * len(times)
    seen = feed(controller, lambda _, number: times[number // 12], frames)
    ups = [i for i, (one, other) in enumerate(itertools.pairwise(seen)) if other[0] < one[0]]
    assert all(later - earlier >= UP_AFTER for earlier, later in itertools.pairwise(ups))
    assert controller.switches <= 2 * (frames // UP_AFTER) + len(expected) - 1


@settings(max_examples=30)
@given(
    slowdowns=st.lists(st.floats(0.5, 2.4), min_size=1, max_size=8),
    noise=st.lists(st.floats(1, 1.05), min_size=7, max_size=7),
)
def test_p99_holds_wherever_some_setting_holds_it(slowdowns, noise):
    """As long as the machine slows all settings alike, late frames are those that a change of it costs."""
    controller = BudgetController(20.2, EXPECTED)
    frames = 1000 * len(slowdowns)
    seen = feed(
        controller, lambda tier, n: EXPECTED[tier] * slowdowns[n // 1000] * noise[n % len(noise)], frames
    )
    assert sum(ms > 20.2 for _, ms in seen) <= 2 * len(EXPECTED) * len(slowdowns)
    assert controller.expected_ms == EXPECTED
