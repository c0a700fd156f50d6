"""Thresholds and what may be claimed of them."""

import re

import numpy as np
import pytest
from edgead_runtime.calibration import NormalScore, calibrate, explain, guess_from_self_similarity
from edgead_runtime.enrollment import self_distances
from edgead_runtime.errors import EnrollmentError
from hypothesis import given
from hypothesis import strategies as st


def _scores(values):
    return [NormalScore(image=float(value), map_peak=10 * float(value)) for value in values]


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [
        (1, None, 1),  # the largest of all
        (9, None, 1),
        (9, 0.1, 1),
        (9, 0.19, 1),
        (9, 0.2, 2),
        (9, 0.3, 3),  # 0.3 * 10 is 3.0000000000000004 or 2.9999...: either way 3
        (19, 0.05, 1),
        (99, 0.07, 7),  # 0.07 * 100 = 7.000000000000001
        (99, 0.29, 29),  # 0.29 * 100 = 28.999999999999996
        (9, 0.999, 9),
    ],
)
def test_ranks(n, rate, rank):
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1))
    calibration = calibrate(_scores(values), "leave-one-out", rate)
    assert calibration.threshold == n + 1 - rank
    assert calibration.pixel_threshold == 10 * (n + 1 - rank)
    assert calibration.false_alarm_rate == pytest.approx(rank / (n + 1))
    assert calibration.attainable_false_alarm_rate == pytest.approx(1 / (n + 1))
    assert calibration.normal_scores == values.tolist()
    assert calibration.pictures == n


@pytest.mark.parametrize(("n", "rate"), [(4, None), (8, 0.25), (19, 0.05), (30, 0.1), (12, 0.5)])
def test_the_claim_holds_for_exchangeable_scores(n, rate):
    """Skewed, heavy-tailed scores, 6000 detectors: the share of false alarms keeps to the claim."""
    random = np.random.default_rng(42)
    draws = random.lognormal(0, 1.5, (6000, n + 1))
    alarms, claimed = 0, 0.0
    for known, new in zip(draws[:, :n], draws[:, n], strict=True):
        calibration = calibrate(_scores(known), "held-out", rate)
        alarms += new > calibration.threshold
        claimed = calibration.false_alarm_rate
    assert claimed <= (rate or 1) + 1e-9
    margin = 4 * np.sqrt(claimed * (1 - claimed) / 6000)
    # Without ties the bound is attained: not only safe but as sharp as can be.
    assert abs(alarms / 6000 - claimed) < margin


def test_equal_scores_raise_no_alarm_on_one_more_of_them():
    calibration = calibrate(_scores([0.2] * 8), "leave-one-out", 0.5)
    assert not calibration.threshold < 0.2


@given(st.integers(1, 60), st.floats(1e-4, 0.999))
def test_the_remedy_for_too_few_pictures_is_right(n, rate):
    try:
        calibration = calibrate(_scores(range(1, n + 1)), "leave-one-out", rate)
    except EnrollmentError as error:
        enough = int(re.search(r"at least (\d+) good pictures", error.remedy).group(1))
        assert enough > n
        calibrate(_scores(range(1, enough + 1)), "leave-one-out", rate)
        with pytest.raises(EnrollmentError):
            calibrate(_scores(range(1, enough)), "leave-one-out", rate)
    else:
        assert calibration.false_alarm_rate <= rate + 1e-9


@pytest.mark.parametrize("n", range(1, 40))
def test_the_rate_named_in_the_remedy_is_granted(n):
    with pytest.raises(EnrollmentError) as caught:
        calibrate(_scores(range(1, n + 1)), "leave-one-out", 0.0001)
    percent = float(re.search(r"ask for ([\d.]+)%", caught.value.remedy).group(1))
    calibrate(_scores(range(1, n + 1)), "leave-one-out", percent / 100)


@pytest.mark.parametrize(("one_in", "n"), [(k, k - 1) for k in (2, 3, 10, 20, 49, 98, 100, 1000)])
def test_the_number_of_pictures_for_round_rates(one_in, n):
    with pytest.raises(EnrollmentError, match=f"at least {n} good pictures" if n > 1 else "at least 1 good"):
        calibrate(_scores([]) if n == 1 else _scores([1.0] * (n - 1)), "held-out", 1 / one_in)
    assert calibrate(_scores([1.0] * n), "held-out", 1 / one_in).false_alarm_rate == pytest.approx(1 / one_in)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 5.0, float("nan"), float("inf")])
def test_rates_that_make_no_sense(rate):
    with pytest.raises(EnrollmentError, match="makes no sense"):
        calibrate(_scores(range(10)), "leave-one-out", rate)


def test_sentences():
    scores = _scores(range(9))
    assert "left out of the bank in turn: at most 20.0% false alarms" in explain(
        calibrate(scores, "leave-one-out", 0.2)
    )
    assert "9 held-out good pictures" in explain(calibrate(scores, "held-out", None))
    assert "the lowest that 9 pictures can claim is 10.0%" in explain(calibrate(scores, "held-out", None))
    assert "is a guess from one picture" in explain(guess_from_self_similarity(scores[3]))


# One picture


def test_the_guess_claims_nothing():
    guess = guess_from_self_similarity(NormalScore(image=0.3, map_peak=0.2))
    assert (guess.method, guess.threshold, guess.pixel_threshold) == ("self-similarity", 0.3, 0.2)
    assert guess.false_alarm_rate is None
    assert guess.pictures == 1


@pytest.mark.parametrize(("second", "distance"), [((6, 6), 1), ((5, 7), 1), ((5, 8), 0), ((9, 0), 0)])
def test_self_distance_leaves_the_neighbourhood_out(second, distance):
    """Two odd patches know each other only where they are more than two of ten patches apart."""
    tokens = np.zeros((10, 10, 4), np.float32)
    tokens[:, :, 0] = 1
    for place in ((5, 5), second):
        tokens[place] = (0, 1, 0, 0)
    expected = np.zeros((10, 10))
    expected[5, 5] = expected[second] = distance
    assert self_distances(tokens.reshape(100, 4), (10, 10)) == pytest.approx(expected)


def test_self_distance_by_brute_force():
    random = np.random.default_rng(0)
    grid = (9, 12)
    tokens = random.standard_normal((108, 6)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    reach = 2  # a fifth of nine, rounded
    expected = np.empty(grid)
    for row in range(9):
        for column in range(12):
            others = [
                tokens[r * 12 + c]
                for r in range(9)
                for c in range(12)
                if abs(r - row) > reach or abs(c - column) > reach
            ]
            expected[row, column] = 1 - max(other @ tokens[row * 12 + column] for other in others)
    assert self_distances(tokens, grid) == pytest.approx(expected, abs=1e-5)
