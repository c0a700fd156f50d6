import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.report.histogram import make_histogram

SCORES = st.lists(st.floats(0, 2), min_size=1, max_size=80)


@given(SCORES, SCORES, st.floats(0, 3))
def test_every_picture_is_drawn_inside_the_axes(good, bad, threshold):
    histogram = make_histogram({"OK": good, "anomalous": bad}, threshold)
    assert sum(int(bar.title.split()[0]) for bar in histogram.bars) == len(good) + len(bad)
    assert len(histogram.bars) <= 2 * 61
    for bar in histogram.bars:
        assert histogram.left <= bar.x <= bar.x + bar.width <= histogram.right
        assert histogram.top - 1e-6 <= bar.y <= bar.y + bar.height <= histogram.baseline + 1e-6
    assert histogram.left <= histogram.threshold_x <= histogram.right + 1e-6


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=50), st.floats(0.1, 1))
def test_no_bar_holds_both_verdicts(scores, threshold):
    groups = {
        "OK": [score for score in scores if score <= threshold],
        "anomalous": [score for score in scores if score > threshold * (1 + 1e-6)],
    }
    histogram = make_histogram(groups, threshold)
    for bar in histogram.bars:
        if bar.group == "OK":
            assert bar.x + bar.width <= histogram.threshold_x + 1e-6
        else:
            assert bar.x >= histogram.threshold_x - 1e-6


def test_counts_have_whole_ticks():
    histogram = make_histogram({"OK": [0.1, 0.1, 0.2]}, 0.15)
    assert all(tick.label.isdecimal() for tick in histogram.y_ticks)


def test_all_scores_zero():
    histogram = make_histogram({"OK": [0.0, 0.0]}, 0.0)
    assert len(histogram.bars) == 1
    assert histogram.threshold_x == pytest.approx(histogram.left)
