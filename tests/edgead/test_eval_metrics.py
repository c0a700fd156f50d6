import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.anomalydino import pro as brute_force_pro
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from edgead.evaluation.metrics import (
    EvaluationError,
    image_auroc,
    image_average_precision,
    image_f1_max,
    image_roc_curve,
)
from edgead.evaluation.pixel_metrics import pixel_metrics


class Given:
    """A map and its mask as they are."""

    def __init__(self, anomaly_map, mask):
        self.map, self.mask = np.asarray(anomaly_map, dtype=np.float32), np.asarray(mask, dtype=bool)

    def anomaly_map(self):
        return self.map

    def defective(self):
        return self.mask


def f1_max_of_scikit_learn(truth, scores):
    precision, recall, _ = precision_recall_curve(truth, scores)
    both = precision + recall
    return (2 * precision * recall / np.where(both > 0, both, 1)).max()


def measure(pictures, limit=0.3):
    return pixel_metrics([Given(a, t) for a, t in pictures], limit)


def scene(random, *, levels, hw=(20, 27), regions=3, lift=0.3):
    """A map with ``levels`` different scores (0: all different) and a mask of some rectangles."""
    mask = np.zeros(hw, dtype=bool)
    for _ in range(regions):
        top, left = random.integers(0, hw[0] - 4), random.integers(0, hw[1] - 4)
        mask[top : top + random.integers(1, 5), left : left + random.integers(1, 5)] = True
    scores = random.random(hw) + lift * mask
    return (np.floor(scores * levels) if levels else scores).astype(np.float32), mask


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=60))
def test_image_metrics_agree_with_scikit_learn_with_ties(pairs):
    scores, truth = zip(*pairs, strict=True)
    if len(set(truth)) < 2:
        return
    assert image_average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))
    assert image_f1_max(scores, truth) == pytest.approx(f1_max_of_scikit_learn(truth, scores))
    fpr, tpr = image_roc_curve(scores, truth)
    their_fpr, their_tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(fpr, their_fpr)
    np.testing.assert_allclose(tpr, their_tpr)
    assert auc(fpr, tpr) == pytest.approx(image_auroc(scores, truth))


def test_image_metrics_by_hand():
    # From the top: defective, good, defective, good.
    scores, truth = [4, 3, 2, 1], [True, False, True, False]
    assert image_average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert image_f1_max(scores, truth) == pytest.approx(2 * 2 / (3 + 2))


@pytest.mark.parametrize("metric", [image_average_precision, image_f1_max, image_roc_curve])
def test_one_kind_only_is_a_typed_error(metric):
    with pytest.raises(EvaluationError, match="0 good and 2 defective"):
        metric([1, 2], [True, True])


@pytest.mark.parametrize("levels", [2, 7, 300, 0])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_pixel_metrics_agree_with_scikit_learn_and_brute_force(levels, limit):
    random = np.random.default_rng(levels)
    pictures = [scene(random, levels=levels) for _ in range(3)]
    pictures.append(scene(random, levels=levels, regions=0, hw=(9, 31)))
    found = measure(pictures, limit)
    scores = np.concatenate([a.ravel() for a, _ in pictures])
    truth = np.concatenate([t.ravel() for _, t in pictures])
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.average_precision == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found.f1_max == pytest.approx(f1_max_of_scikit_learn(truth, scores), abs=1e-12)
    maps, masks = zip(*pictures, strict=True)
    assert found.pro == pytest.approx(brute_force_pro(maps, masks, limit), abs=1e-12)
    assert found.pro_limit == limit


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=24, max_size=24),
    st.sampled_from([0.1, 0.3, 0.77, 1.0]),
)
def test_pixel_metrics_of_any_small_map(pixels, limit):
    scores, truth = (np.array(values).reshape(4, 6) for values in zip(*pixels, strict=True))
    if truth.all() or not truth.any():
        return
    found = measure([(scores, truth)], limit)
    assert found.auroc == pytest.approx(roc_auc_score(truth.ravel(), scores.ravel()), abs=1e-12)
    assert found.pro == pytest.approx(brute_force_pro([scores], [truth], limit), abs=1e-12)


def test_few_and_many_good_pixels_are_counted_alike():
    """The two ways of counting: few scores among many pixels, and few pixels among many scores."""
    random = np.random.default_rng(1)
    anomaly_map, mask = scene(random, levels=12, hw=(40, 40), regions=12)
    whole = measure([(anomaly_map, mask)])
    rows = [(anomaly_map[i : i + 1], mask[i : i + 1]) for i in range(len(mask))]
    assert measure(rows).auroc == whole.auroc
    assert measure(rows).average_precision == pytest.approx(whole.average_precision, abs=1e-12)


def test_the_truth_as_map_is_perfect():
    random = np.random.default_rng(2)
    pictures = [scene(random, levels=0) for _ in range(4)]
    found = measure([(mask, mask) for _, mask in pictures])
    assert (found.auroc, found.average_precision, found.f1_max) == (1, 1, 1)
    assert found.pro == pytest.approx(1)


@pytest.mark.parametrize("limit", [0.1, 0.3])
def test_noise_has_a_pro_of_half_the_limit(limit):
    random = np.random.default_rng(3)
    pictures = [(random.random((120, 120)), scene(random, levels=0, hw=(120, 120))[1]) for _ in range(20)]
    found = measure(pictures, limit)
    assert found.pro == pytest.approx(limit / 2, abs=0.03)
    assert found.auroc == pytest.approx(0.5, abs=0.03)


def test_a_constant_map_is_one_tie():
    mask = np.zeros((10, 10), dtype=bool)
    mask[2:4, 2:4] = True
    found = measure([(np.ones((10, 10)), mask)])
    assert found.auroc == 0.5
    assert found.average_precision == pytest.approx(0.04)
    # From (0, 0) straight to (1, 1).
    assert found.pro == pytest.approx(0.3 / 2)


def test_pro_by_hand_with_a_small_and_a_large_region():
    """The mean is over regions, not over pixels: half of PRO is the single pixel's."""
    scores, mask = np.zeros((10, 10)), np.zeros((10, 10), dtype=bool)
    mask[0, 0] = mask[5:8, 5:8] = True
    scores[5:8, 5:8] = 3  # the large one is found first,
    scores[9, :] = 2  # then ten of the ninety good pixels,
    scores[0, 0] = 1  # then the small one.
    found = measure([(scores, mask)])
    assert found.regions == 2
    # Overlap 0.5 up to a rate of 10/90, and 1 from there.
    assert found.pro == pytest.approx((0.5 * 10 / 90 + 1 * (0.3 - 10 / 90)) / 0.3)


def test_regions_that_touch_at_a_corner_are_one():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1, 1] = mask[2, 2] = True
    assert measure([(np.arange(36).reshape(6, 6), mask)]).regions == 1
    mask[2, 2] = False
    mask[3, 3] = True
    assert measure([(np.arange(36).reshape(6, 6), mask)]).regions == 2


def test_good_pictures_count_for_the_false_positive_rate():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1, 1] = True
    defective = (np.where(mask, 2.0, 0.0), mask)
    loud = (np.full((6, 6), 3.0), np.zeros((6, 6), dtype=bool))
    assert measure([defective]).pro == pytest.approx(1)
    assert measure([defective, loud]).pro < 0.5


def test_curves_run_from_corner_to_corner():
    found = measure([scene(np.random.default_rng(4), levels=5)])
    for curve in (found.roc, found.overlap):
        assert (curve.fpr[0], curve.value[0], curve.fpr[-1], curve.value[-1]) == (0, 0, 1, 1)
        assert (np.diff(curve.fpr) >= 0).all()
        assert (np.diff(curve.value) >= -1e-12).all()
        assert len(curve.sampled(50)) == 50
    assert auc(found.roc.fpr, found.roc.value) == pytest.approx(found.auroc)


@pytest.mark.parametrize(
    ("pictures", "limit", "problem"),
    [
        ([(np.zeros((4, 4)), np.zeros((4, 4)))], 0.3, "no pixel is marked"),
        ([], 0.3, "no pixel is marked"),
        ([(np.zeros((4, 4)), np.ones((4, 4)))], 0.3, "every pixel is defective"),
        ([(np.zeros((4, 5)), np.ones((4, 4)))], 0.3, "5 x 4 does not match a mask of 4 x 4"),
        ([(np.full((4, 4), np.nan), np.eye(4))], 0.3, "not a number"),
        ([(np.zeros((4, 4)), np.eye(4))], 0, "not in"),
        ([(np.zeros((4, 4)), np.eye(4))], 1.1, "not in"),
    ],
)
def test_undefined_pixel_metrics_are_typed_errors(pictures, limit, problem):
    with pytest.raises(EvaluationError, match=problem):
        measure(pictures, limit)


def test_no_map_is_held():
    """One map at a time, whatever the number of pictures."""
    alive = []

    class Counted(Given):
        def anomaly_map(self):
            made = self.map.copy()
            alive.append(weakref.ref(made))
            assert sum(reference() is not None for reference in alive) <= 2
            return made

    pixel_metrics([Counted(*scene(np.random.default_rng(i), levels=0)) for i in range(20)])
    assert len(alive) == 40
