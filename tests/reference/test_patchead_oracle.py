"""The PatchEAD oracle itself, against cases worked out by hand."""

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from reference.anomalydino import distances
from reference.patchead import (
    aligned_scores,
    aligned_views,
    anomaly_map,
    attention_weights,
    batch_zero_shot_scores,
    cls_attention,
    few_shot_scores,
    half_cosine,
    half_turn,
    image_score,
    rigid_fit,
    worst_count,
)


def unit(*degrees):
    """Tokens in the plane; (1 - cos) / 2 of two of them is sin^2 of half the angle between."""
    a = np.radians(degrees)
    return np.stack([np.cos(a), np.sin(a)], axis=1)


def random_tokens(n, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# half_cosine


def test_half_cosine_by_hand_ignores_length():
    bank = unit(0, 60, 90, 180) * np.array([[1.0], [5.0], [0.1], [3.0]])
    d = half_cosine(7 * unit(0), bank)
    assert d.shape == (1, 4)
    assert d[0] == pytest.approx([0.0, 0.25, 0.5, 1.0], abs=1e-15)


def test_half_cosine_stays_within_0_and_1():
    t = random_tokens(200).astype(np.float32)
    d = half_cosine(t, np.concatenate([t, -t]))
    assert d.dtype == np.float64
    assert d.shape == (200, 400)
    assert d.min() >= 0.0  # without the clamp rounding goes below and beyond
    assert d.max() <= 1.0
    assert np.diag(d[:, :200]) == pytest.approx(0.0, abs=1e-15)
    assert np.diag(d[:, 200:]) == pytest.approx(1.0, abs=1e-15)


# K


@pytest.mark.parametrize(
    ("n", "k"),
    [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 2), (8, 2), (9, 3), (10, 3), (15, 4), (16, 5)],
)
def test_k_is_30_percent_rounded_half_to_even_and_at_least_one(n, k):
    assert worst_count(n) == k


@pytest.mark.parametrize("n", range(1, 11))
def test_scores_use_that_k(n):
    angles = [10.0 * (i + 1) for i in range(n)]  # reference i lies at angles[i], the query at 0
    s = np.sin(np.radians(angles) / 2) ** 2
    k = [1, 1, 1, 1, 2, 2, 2, 2, 3, 3][n - 1]
    score = few_shot_scores(unit(0), [unit(a) for a in angles], "worst")
    assert score == pytest.approx([s[n - k :].mean()], abs=1e-15)


def test_other_shares():
    references = [unit(60), unit(90), unit(180)]  # 0.25, 0.5, 1
    for share, expected in ((0.0, 1.0), (0.3, 1.0), (0.67, 0.75), (1.0, 1.75 / 3)):
        assert few_shot_scores(unit(0), references, "worst", share) == pytest.approx([expected])


# few-shot


def test_min_and_worst_by_hand():
    # the closest patch of the first reference is at 60 degrees from the first query, at 30 from the second
    query, references = unit(0, 90), [unit(60, 180), unit(90)]
    assert few_shot_scores(query, references, "min") == pytest.approx([0.25, 0.0], abs=1e-15)
    # K = 1; each patch has its own worst reference: the second one for patch 0, the first for patch 1
    assert few_shot_scores(query, references, "worst") == pytest.approx([0.5, (1 - np.cos(np.pi / 6)) / 2])


def test_min_is_the_default_and_half_of_anomalydino():
    query, references = random_tokens(20), [random_tokens(m, seed=m) for m in (5, 9, 13)]
    scores = few_shot_scores(query, references)
    assert np.array_equal(scores, few_shot_scores(query, references, "min"))
    assert scores == pytest.approx(distances(query, np.concatenate(references)) / 2, abs=1e-15)


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_min_is_never_above_worst(n):
    query, references = random_tokens(30), [random_tokens(8 + i, seed=i + 1) for i in range(n)]
    low, high = (few_shot_scores(query, references, r) for r in ("min", "worst"))
    assert low.shape == high.shape == (30,)
    assert (low <= high + 1e-15).all()
    assert np.allclose(low, high, atol=1e-15) == (n == 1)


@pytest.mark.parametrize("reduction", ["min", "worst"])
def test_neither_the_order_of_references_nor_of_their_patches_matters(reduction):
    query, references = random_tokens(12), [random_tokens(6 + i, seed=i + 1) for i in range(6)]
    scores = few_shot_scores(query, references, reduction)
    shuffled = [references[i][::-1] for i in (3, 0, 5, 1, 4, 2)]
    assert few_shot_scores(query, shuffled, reduction) == pytest.approx(scores, abs=1e-15)
    order = np.random.default_rng(3).permutation(12)
    assert few_shot_scores(query[order], references, reduction) == pytest.approx(scores[order], abs=1e-15)


def test_bad_arguments():
    with pytest.raises(ValueError, match="no reference"):
        few_shot_scores(unit(0), [])
    with pytest.raises(ValueError, match="unknown reduction"):
        few_shot_scores(unit(0), [unit(0)], "mean")
    with pytest.raises(ValueError, match="two pictures"):
        batch_zero_shot_scores([unit(0)])


# batch zero-shot


def test_identical_pictures_score_0():
    scores = batch_zero_shot_scores([random_tokens(10)] * 4)
    assert len(scores) == 4
    assert np.stack(scores) == pytest.approx(0.0, abs=1e-15)


def test_batch_by_hand():
    # pictures at 0, 0, 0 and 180 degrees: K = round(0.9) = 1, so the odd one spoils all the others
    assert np.ravel(batch_zero_shot_scores([unit(0)] * 3 + [unit(180)])) == pytest.approx([1.0] * 4)
    # K = round(0.3 * 5) = 2 of five others: a good picture meets 1 and 0, the odd one 1 and 1
    scores = batch_zero_shot_scores([unit(0)] * 5 + [unit(180)])
    assert np.ravel(scores) == pytest.approx([0.5] * 5 + [1.0])


@pytest.mark.parametrize("share", [0.3, 1.0])  # at 1 the picture itself, its distance 0, would lower the mean
def test_batch_leaves_only_the_picture_itself_out_and_follows_its_order(share):
    pictures = [random_tokens(4 + i, seed=i) for i in range(6)]
    scores = batch_zero_shot_scores(pictures, share)
    for i, s in enumerate(scores):
        assert np.array_equal(
            s, few_shot_scores(pictures[i], pictures[:i] + pictures[i + 1 :], "worst", share)
        )
    order = [4, 2, 0, 5, 1, 3]
    for at, s in zip(order, batch_zero_shot_scores([pictures[i] for i in order], share), strict=True):
        assert s == pytest.approx(scores[at], abs=1e-15)


# alignment


def test_aligned_scores_by_hand():
    # sin^2 of half the angle: 60 is 0.25, 90 is 0.5, 180 is 1
    first = [unit(60, 180), unit(90), unit(180)]  # (0.25 + 0.5 + 1) / 3
    second = [unit(0), unit(60), unit(90, 60)]  # (0 + 0.25 + 0.25) / 3
    third = [unit(90), unit(90), unit(90)]
    assert aligned_scores(unit(0), [first]) == pytest.approx([1.75 / 3])
    assert aligned_scores(unit(0), [first, second, third]) == pytest.approx([0.5 / 3])
    assert aligned_scores(unit(0), [first, second, third], "worst") == pytest.approx([1.75 / 3])
    assert aligned_scores(unit(0), [first, second, third], "worst", 0.67) == pytest.approx(
        [(1.75 / 3 + 0.5) / 2]
    )


def test_the_views_are_averaged_and_not_searched_together():
    """A patch that only one view has is still a third of the way off."""
    views = [unit(0), unit(180), unit(180)]
    assert aligned_scores(unit(0), [views]) == pytest.approx([2 / 3])
    assert few_shot_scores(unit(0), views) == pytest.approx([0.0], abs=1e-15)


@pytest.mark.parametrize("reduction", ["min", "worst"])
@pytest.mark.parametrize("times", [1, 3])
def test_views_that_are_all_the_same_change_nothing(reduction, times):
    query, references = random_tokens(12), [random_tokens(6 + i, seed=i + 1) for i in range(6)]
    scores = aligned_scores(query, [[r] * times for r in references], reduction)
    assert scores == pytest.approx(few_shot_scores(query, references, reduction), abs=1e-15)


def test_a_reference_that_was_not_aligned_has_fewer_views():
    references = [[unit(90)], [unit(60), unit(180), unit(60)]]  # 0.5 and 1.5 / 3
    assert aligned_scores(unit(0), references) == pytest.approx([0.5])
    assert aligned_scores(unit(0), references, "worst") == pytest.approx([0.5])


def test_aligned_scores_refuse_bad_arguments():
    with pytest.raises(ValueError, match="no reference"):
        aligned_scores(unit(0), [])
    with pytest.raises(ValueError, match="without a view"):
        aligned_scores(unit(0), [[unit(0)], []])
    with pytest.raises(ValueError, match="unknown reduction"):
        aligned_scores(unit(0), [[unit(0)]], "mean")


def test_rigid_fit_by_hand():
    corners = np.array([[0.0, 0], [4, 0], [0, 2]])
    quarter = np.array([[10.0, 5], [10, 9], [8, 5]])  # (x, y) to (10 - y, 5 + x)
    assert rigid_fit(corners, quarter) == pytest.approx(np.array([[0, -1, 10], [1, 0, 5]]), abs=1e-12)
    # twice the size is not followed: the same angle, about the centres
    assert rigid_fit(corners, 2 * corners) == pytest.approx(
        np.array([[1, 0, 4 / 3], [0, 1, 2 / 3]]), abs=1e-12
    )


def test_aligned_views_by_hand():
    frame = np.repeat(np.array([[10, 20, 30], [40, 50, 60]], np.uint8)[:, :, None], 3, axis=2)
    shift = np.array([[1.0, 0, 1], [0, 1, 0]])  # one pixel to the right: the left edge shows what lies inside
    as_taken, aligned, turned = aligned_views(frame, shift, (2, 3))
    assert as_taken is frame
    assert aligned[..., 0].tolist() == [[20, 10, 20], [50, 40, 50]]
    assert turned[..., 0].tolist() == [[50, 40, 50], [20, 10, 20]]
    half = np.array([[1.0, 0, 0], [0, 1, 0.5]])
    assert aligned_views(frame, half, (2, 3))[1][..., 0].tolist() == [[25, 35, 45], [25, 35, 45]]
    quarter = np.array([[0.0, -1, 1], [1, 0, 0]])  # (x, y) to (1 - y, x): the canvas is 3 x 2 then
    assert aligned_views(frame, quarter, (3, 2))[1][..., 0].tolist() == [[40, 10], [50, 20], [60, 30]]


def test_reflection_reaches_as_far_as_it_must():
    frame = np.repeat(np.array([[1, 2, 3]], np.uint8)[:, :, None], 3, axis=2)
    far = np.array([[1.0, 0, 7], [0, 1, 5]])
    assert aligned_views(frame, far, (1, 3))[1][..., 0].tolist() == [[2, 3, 2]]


# attention


def shaken(model):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


@pytest.fixture(scope="module", params=[0, 3], ids=["plain", "registers"])
def model(request):
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "mlp_ratio": 2}
    sizes |= {"image_size": 56, "patch_size": 14, "attn_implementation": "eager"}
    if request.param:
        config = Dinov2WithRegistersConfig(num_register_tokens=request.param, **sizes)
        return shaken(Dinov2WithRegistersModel(config))
    return shaken(Dinov2Model(Dinov2Config(**sizes)))


@pytest.mark.parametrize("layer", [None, 1, 2, 3])
def test_cls_attention_is_what_transformers_returns(model, layer):
    x = torch.randn(3, 42, 56, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        attentions = model(x[None], output_attentions=True).attentions
    first = 1 + getattr(model.config, "num_register_tokens", 0)
    expected = attentions[2 if layer is None else layer - 1][0, :, 0, first:].mean(dim=0).numpy()
    found = cls_attention(model, x, layer)
    assert found.shape == (12,)  # 3 x 4 patches
    assert found.dtype == np.float64
    assert found == pytest.approx(expected, abs=1e-6)
    assert expected.std() > 1e-3  # a uniform attention would agree with anything
    assert found.sum() < 1  # CLS and registers have their share, and it is not given back


def test_cls_attention_refuses_a_layer_that_is_not_there(model):
    for layer in (0, 4):
        with pytest.raises(ValueError, match=r"not in 1\.\.3"):
            cls_attention(model, torch.zeros(3, 28, 28), layer)


def test_attention_weights_by_hand():
    attention = np.array([2.0, 2.125, 3.0, 6.0])  # min-max: 0, 1/32, 1/4, 1
    assert attention_weights(attention).tolist() == [0.5, 0.5, 1.0, 1.0]
    assert attention_weights(attention, threshold=0.25).tolist() == [
        0.5,
        0.5,
        0.5,
        1.0,
    ]  # at the threshold: not
    assert attention_weights(attention, 0.03, 0.1).tolist() == [0.1, 1.0, 1.0, 1.0]
    assert attention_weights(attention * 1e-4 + 7).tolist() == [
        0.5,
        0.5,
        1.0,
        1.0,
    ]  # scale and offset drop out
    assert attention_weights(np.full(4, 0.2)).tolist() == [1.0] * 4


# score, map, frame


@pytest.mark.parametrize(("n", "top"), [(5, 1), (100, 1), (199, 1), (200, 2), (1024, 10)])
def test_image_score_is_the_mean_of_the_top_percent(n, top):
    scores = np.random.default_rng(0).permutation(n).astype(np.float64)
    assert image_score(scores) == n - 1 - (top - 1) / 2


def test_map_is_bilinear_at_half_pixel_centres_and_not_smoothed():
    found = anomaly_map(np.array([[0.0, 1.0]]), (2, 4))
    assert found == pytest.approx(np.array([[0.0, 0.25, 0.75, 1.0]] * 2))
    assert anomaly_map(np.full((3, 4), 0.3), (30, 50)) == pytest.approx(0.3)


def test_half_turn():
    frame = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    turned = half_turn(frame)
    assert turned.shape == (2, 3, 3)
    assert turned[0, 0].tolist() == [15, 16, 17]  # the channels stay in order
    assert np.array_equal(half_turn(turned), frame)
