"""The gate of a precision: arithmetic with known answers, and encoders that are and are not alike."""

import numpy as np
import pytest
from edgead_runtime import Encoder
from edgead_runtime.agreement import (
    Gate,
    GateLimits,
    LabelledPictures,
    Scene,
    SceneAgreement,
    auroc,
    distances_to,
    rank_correlation,
    verdict,
)
from edgead_runtime.images import Picture
from edgead_runtime.scenes import MOST_SCENES, scenes_of_one_part, scenes_of_unrelated
from scipy.stats import spearmanr

from edgead.evaluation.metrics import image_auroc

NAN = float("nan")


def row(correlation=0.995, error=0.005):
    return SceneAgreement("scene", "features", "fp32", correlation, 0.2, 0.2 * (1 + error), error)


def judged(rows, **changes):
    return verdict("int8", "engine", rows, limits=GateLimits(), **changes)


def test_what_is_within_every_limit_passes():
    report = judged(
        [row(0.99, 0.0), row(1.0, 0.01), row(0.995, 0.03)], auroc_reference=0.9, auroc_found=0.8971
    )
    assert report.passed
    assert report.failures == ()
    assert report.rank_correlation_min == 0.99
    assert report.rank_correlation_mean == pytest.approx(0.995)
    assert report.score_error_median == 0.01
    assert report.score_error_max == 0.03


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(), row(0.9899), row()], "worst distance map 0.9899"),
        ([row(error=0.011), row(error=0.011), row(error=0.0)], "1.10% in the median"),
        ([row(error=0.0), row(error=0.0), row(error=0.031)], "3.10% at worst"),
        ([row(), row(NAN)], "nan"),
        ([row(error=0.0), row(error=0.0), row(error=NAN)], "nan"),
    ],
)
def test_each_limit_fails_by_itself_and_says_so(rows, said):
    report = judged(rows)
    assert not report.passed
    assert said in " ".join(report.failures)


@pytest.mark.parametrize("found", [0.9531, 0.9469, NAN])
def test_auroc_may_differ_by_three_tenths_of_a_point_either_way(found):
    (failure,) = judged([row()], auroc_reference=0.95, auroc_found=found).failures
    assert "AUROC" in failure


def test_auroc_is_that_of_the_evaluation():
    random = np.random.default_rng(3)
    assert auroc([1.0, 2.0, 3.0, 4.0], [False, False, True, True]) == 1
    assert auroc([1.0, 1.0, 1.0], [False, True, True]) == 0.5
    assert auroc([1.0, 2.0, 3.0], [True, False, False]) == 0
    scores, truth = random.integers(0, 9, 60).astype(float), random.random(60) < 0.4
    assert auroc(scores, truth) == pytest.approx(image_auroc(scores, truth), abs=1e-12)
    with pytest.raises(ValueError, match="good and defective"):
        auroc([1.0, 2.0], [True, True])


def test_rank_correlation_is_spearmans():
    random = np.random.default_rng(5)
    one = random.integers(0, 20, 200).astype(np.float32)
    other = one + random.standard_normal(200).astype(np.float32) * 6
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert np.isnan(rank_correlation(np.append(one, np.nan), np.append(other, 1)))


def test_an_encoder_agrees_with_itself_and_not_with_another(build_bundle, two_layer_bundle, part, tmp_path):
    scenes = [Scene("a", (part(0),), part(1)), Scene("b", (part(2), part(3)), part(4))]
    other_bundle = build_bundle(tmp_path / "other", seed=9, second=True)
    with (
        Encoder.load(two_layer_bundle, engine="onnxruntime", threads=1) as same,
        Encoder.load(other_bundle, engine="onnxruntime", threads=1) as other,
    ):
        gate = Gate(same, scenes)
        alike, _ = gate.judge(same, "fp32")
        unlike, worst = gate.judge(other, "int8")
    # Two scenes, two layers, two kinds of bank.
    assert len(alike.rows) == 8
    assert alike.passed
    assert (alike.rank_correlation_min, alike.score_error_max) == (pytest.approx(1), 0)
    assert alike.attention_correlation_min == pytest.approx(1)
    assert not unlike.passed
    assert worst.scene.rank_correlation == unlike.rank_correlation_min
    assert worst.reference.shape == worst.found.shape == same.manifest.grid


def test_a_row_is_what_the_stages_give(mini_bundle, part):
    with Encoder.load(mini_bundle, engine="onnxruntime", threads=1) as encoder:
        report, _ = Gate(encoder, [Scene("a", (part(0),), part(1))]).judge(encoder, "fp32")
        distances = distances_to(encoder.encode(part(1)).tokens, [encoder.encode(part(0)).tokens])
    top = np.sort(distances)[-max(1, len(distances) // 100) :]
    assert report.rows[0].score_reference == pytest.approx(top.mean(), rel=1e-6)


def test_labelled_pictures_are_ranked(mini_bundle, part):
    pictures = tuple(lambda seed=seed: part(seed) for seed in range(1, 5))
    labelled = LabelledPictures((part(0),), pictures, (False, True, False, True))
    with Encoder.load(mini_bundle, engine="onnxruntime", threads=1) as encoder:
        report, _ = Gate(encoder, [Scene("a", (part(0),), part(1))], labelled).judge(encoder, "fp32")
    assert report.auroc is not None
    assert report.auroc == report.auroc_reference
    assert 0 <= report.auroc <= 1


def test_scenes_pair_each_picture_with_another_of_its_part(part):
    pictures = [Picture(f"{number}.png", part(number)) for number in range(3)]
    scenes = scenes_of_one_part(pictures)
    assert [scene.name for scene in scenes[::2]] == ["0.png and 2.png", "1.png and 0.png", "2.png and 1.png"]
    for scene in scenes:
        assert not np.array_equal(scene.bank[0], scene.query)
    plain, pasted = scenes[0].query, scenes[1].query
    changed = (plain != pasted).any(axis=2).mean()
    assert 0 < changed <= 1 / 36
    many = [Picture(f"{number}.png", part(number % 4)) for number in range(20)]
    assert len(scenes_of_one_part(many)) == len(scenes_of_unrelated(many)) == MOST_SCENES


def test_an_unrelated_picture_is_compared_with_another_view_of_itself(part):
    (scene, *_) = scenes_of_unrelated([Picture("a.png", part(0)), Picture("b.png", part(1))])
    assert scene.bank[0].shape == scene.query.shape
    assert scene.bank[0].dtype == np.uint8
    assert not np.array_equal(scene.bank[0], scene.query)


def test_the_worst_scene_is_one_that_is_no_number(mini_encoder, part, monkeypatch):
    scenes = [Scene(str(number), (part(0),), part(number)) for number in range(1, 4)]
    gate = Gate(mini_encoder, scenes)
    found = iter([0.9, 0.8, NAN, 0.7, 0.6, 0.5])
    monkeypatch.setattr("edgead_runtime.agreement.rank_correlation", lambda *_: next(found))
    report, worst = gate.judge(mini_encoder, "int8")
    assert np.isnan(worst.scene.rank_correlation)
    assert worst.scene.scene == "2"
    assert not report.passed
