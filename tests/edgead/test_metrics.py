import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from edgead.evaluation.metrics import EvaluationError, image_auroc


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60))
def test_agrees_with_scikit_learn_with_ties(pairs):
    scores, labels = zip(*pairs, strict=True)
    if len(set(labels)) < 2:
        return
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=40))
def test_is_the_share_of_pairs_in_the_right_order(pairs):
    bad = [score for score, defective in pairs if defective]
    good = [score for score, defective in pairs if not defective]
    if not bad or not good:
        return
    wins = [1.0 if high > low else 0.5 if high == low else 0.0 for high in bad for low in good]
    scores, labels = zip(*pairs, strict=True)
    assert image_auroc(scores, labels) == pytest.approx(np.mean(wins))


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.booleans()), min_size=2, max_size=40))
def test_only_the_order_counts(pairs):
    scores, labels = zip(*pairs, strict=True)
    if len(set(labels)) < 2:
        return
    assert image_auroc(np.exp(np.array(scores) / 500), labels) == pytest.approx(image_auroc(scores, labels))


def test_perfect_inverted_and_constant():
    assert image_auroc([1, 2, 3, 4], [False, False, True, True]) == 1
    assert image_auroc([4, 3, 2, 1], [False, False, True, True]) == 0
    assert image_auroc([1, 1, 1, 1], [False, True, False, True]) == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "problem"),
    [
        ([1, 2], [True, True], "0 good and 2 defective"),
        ([1, 2], [False, False], "2 good and 0 defective"),
        ([1, 2, 3], [True, False], "do not match"),
        ([1, float("nan")], [True, False], "not a number"),
    ],
)
def test_undefined_is_a_typed_error(scores, labels, problem):
    with pytest.raises(EvaluationError, match=problem):
        image_auroc(scores, labels)
