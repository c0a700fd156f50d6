"""The state machine of events, against what it promises, for any readings."""

import math

import pytest
from edgead_runtime.streaming.decisions import Change, Decider, Reading, Rules
from hypothesis import given
from hypothesis import strategies as st

_rules = st.integers(1, 5).flatmap(
    lambda window: st.builds(
        Rules,
        hits=st.integers(1, window),
        window=st.just(window),
        close_ratio=st.sampled_from([0.5, 0.8, 1.0]),
        close_after=st.integers(1, 4),
        cool_down_s=st.sampled_from([0.0, 0.5, 3.0]),
        close_unseen_s=st.sampled_from([0.5, 2.0, 50.0]),
        update_every_s=st.sampled_from([0.0, 1.0]),
    )
)
_steps = st.lists(
    st.tuples(
        st.sampled_from([-0.3, 0.0, 0.1, 0.4, 1.5]),  # a step back is a clock that misbehaves
        st.one_of(st.none(), st.sampled_from([0.0, 0.3, 0.45, 0.5, 0.51, 0.9, math.nan])),
    ),
    max_size=40,
)
THRESHOLD = 0.5


def _play(rules, steps):
    """Every step's time, score (``None``: time passes) and changes; the last is the end of the stream."""
    decider, now, played = Decider(rules), 0.0, []
    for seconds, score in steps:
        now += seconds
        if score is None:
            changes = decider.tick(now)
        else:
            changes = decider.observe(now, Reading(score, THRESHOLD, evidence=len(played)))
        played.append((now, score, changes))
    played.append((now, None, decider.finish(now, "the end")))
    assert decider.open is None
    return played


@given(_rules, _steps)
def test_never_two_open_and_every_one_closes(rules, steps):
    open_number, expected = None, 1
    for _, _, changes in _play(rules, steps):
        for event in changes:
            if event.change is Change.OPENED:
                assert open_number is None
                assert event.number == expected
                open_number, expected = event.number, expected + 1
            else:
                assert event.number == open_number
            if event.change is Change.CLOSED:
                assert event.reason in {"calm", "unseen", "the end"}
                open_number = None
    assert open_number is None


@given(_rules, _steps)
def test_none_opens_without_its_hits_among_the_last_frames_since_the_last_one(rules, steps):
    since_closed = []
    for _, score, changes in _play(rules, steps):
        for event in changes:
            if event.change is Change.CLOSED and event.reason == "unseen":
                since_closed = []  # closed before this frame was looked at
        if score is not None:
            since_closed.append(not score <= THRESHOLD)
        kinds = [event.change for event in changes]
        if Change.OPENED in kinds:
            assert sum(since_closed[-rules.window :]) >= rules.hits
        if Change.CLOSED in kinds and kinds[-1] is Change.CLOSED:
            since_closed = []


@given(_rules, _steps)
def test_enough_hits_do_open_one_unless_it_cools_down(rules, steps):
    now, open_, cool_until, recent = -math.inf, False, -math.inf, []
    for at, score, changes in _play(rules, steps):
        now = max(now, at)
        closed_unseen = any(e.change is Change.CLOSED and e.reason == "unseen" for e in changes)
        if closed_unseen:
            open_, recent, cool_until = False, [], now + rules.cool_down_s
        if score is None:
            continue
        recent = [*recent, not score <= THRESHOLD][-rules.window :]
        if not open_ and sum(recent) >= rules.hits and now >= cool_until:
            assert changes[-1].change is Change.OPENED
            open_ = True
        elif any(event.change is Change.CLOSED for event in changes if event.reason != "unseen"):
            open_, recent, cool_until = False, [], now + rules.cool_down_s
        else:
            assert Change.OPENED not in [event.change for event in changes]


@given(_rules, _steps)
def test_the_same_readings_give_the_same_events(rules, steps):
    def facts():
        return [
            [(e.number, e.change, e.opened_s, e.frames, e.hits) for e in c] for _, _, c in _play(rules, steps)
        ]

    assert facts() == facts()


@given(_rules, _steps)
def test_the_worst_frame_is_kept_and_durations_are_not_negative(rules, steps):
    scores = []
    for number, (_, score, changes) in enumerate(_play(rules, steps)):
        scores.append(score)
        for event in changes:
            assert event.duration_s >= 0
            assert 0 <= event.hits <= event.frames
            assert scores[event.worst.evidence] is event.worst.score or (
                scores[event.worst.evidence] == event.worst.score
            )
            if event.change is not Change.OPENED and event.reason != "unseen" and number + 1 < len(scores):
                seen = [s for s in scores[event.worst.evidence :] if s is not None]
                assert math.isnan(event.worst.score) or max(seen) <= event.worst.score


def _observe(rules, scores, step_s=1.0):
    decider = Decider(rules)
    return [
        [event.change.value for event in decider.observe(number * step_s, Reading(score, 0.5, number))]
        for number, score in enumerate(scores)
    ]


def test_three_of_five_with_hysteresis_in_an_example():
    rules = Rules(hits=3, window=5, close_ratio=0.8, close_after=2, update_every_s=100)
    scores = [0.6, 0.1, 0.6, 0.1, 0.6, 0.45, 0.39, 0.45, 0.39, 0.39, 0.6]
    changes = _observe(rules, scores)
    # 0.45 is below the threshold and not below 0.8 of it: neither a hit nor calm.
    assert [number for number, change in enumerate(changes) if change] == [4, 9]
    assert (changes[4], changes[9]) == (["opened"], ["closed"])


def test_updates_come_as_often_as_was_asked():
    changes = _observe(Rules(update_every_s=3), [0.9] * 10)
    assert [number for number, change in enumerate(changes) if change == ["updated"]] == [3, 6, 9]


def test_a_cool_down_delays_the_next_one():
    changes = _observe(Rules(cool_down_s=3), [0.9, 0.1, 0.9, 0.9, 0.9, 0.9])
    assert [change for change in changes if change] == [["opened"], ["closed"], ["opened"]]
    assert changes[4] == ["opened"]


def test_too_small_an_area_is_no_hit_and_yet_not_calm():
    decider = Decider(Rules())
    assert decider.observe(0, Reading(0.9, 0.5, None, counts=False)) == []
    assert [e.change for e in decider.observe(1, Reading(0.9, 0.5, None))] == [Change.OPENED]
    assert [e.change for e in decider.observe(2, Reading(0.9, 0.5, None, counts=False))] == []
    assert [e.change for e in decider.observe(3, Reading(0.2, 0.5, None))] == [Change.CLOSED]


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_a_hit(score):
    assert [e.change for e in Decider(Rules()).observe(0, Reading(score, 0.5, None))] == [Change.OPENED]


def test_the_worst_frame_is_told_by_times_the_threshold():
    """A budget's settings have scores in units of their own."""
    decider = Decider(Rules(hits=1, window=1))
    readings = [Reading(0.9, 0.5, evidence="full"), Reading(0.3, 0.1, evidence="small")]
    readings.append(Reading(1.2, 1.0, evidence="another"))
    for now, reading in enumerate(readings):
        decider.observe(float(now), reading)
    assert decider.open.worst.evidence == "small"
    assert decider.finish(9.0, "the end")[0].worst.evidence == "small"
