"""The oracle itself, against cases worked out by hand."""

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from .anomalydino import (
    ReferenceAnomalyDINO,
    anomaly_map,
    batch_zero_shot_distances,
    distances,
    image_auroc,
    image_score,
    morph,
    otsu_threshold,
    pca_mask,
    preprocess,
    preprocess_squared,
    pro,
    rotations,
    tokens,
)

RNG_SEED = 7


def frame(h, w, seed=RNG_SEED):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=56, patch_size=14, mlp_ratio=2
    )
    model = Dinov2Model(config).eval()
    # the LayerNorm and the layer scales start as near-identities; make them matter
    with torch.no_grad():
        model.layernorm.weight.uniform_(0.5, 2.0)
        model.layernorm.bias.uniform_(-1.0, 1.0)
        for block in model.encoder.layer:
            for p in block.parameters():
                p.add_(0.2 * torch.randn_like(p))
    return model


# preprocess


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        ((300, 300), 448, (448, 448)),
        ((576, 768), 448, (448, 588)),  # 597 before the crop
        ((768, 576), 448, (588, 448)),
        ((300, 300), 672, (672, 672)),
        ((448, 448), 450, (448, 448)),  # the smaller edge is cropped as well
        ((101, 300), 70, (70, 196)),  # int(70 * 300 / 101) = 207
    ],
)
def test_preprocess_shapes(size, edge, expected):
    x = preprocess(frame(*size), edge)
    assert x.shape == (3, *expected)
    assert x.dtype == torch.float32


def test_preprocess_values_and_the_crop_is_top_left():
    f = frame(28, 40)  # smaller edge already 28: no resampling, only the crop 40 -> 28
    x = preprocess(f, 28)
    assert x.shape == (3, 28, 28)
    for channel, mean, std in ((0, 0.485, 0.229), (1, 0.456, 0.224), (2, 0.406, 0.225)):
        expected = (f[:28, :28, channel] / 255.0 - mean) / std
        assert np.abs(x[channel].numpy() - expected).max() < 1e-6


def test_preprocess_squared_takes_the_whole_frame():
    f = np.zeros((40, 80, 3), dtype=np.uint8)
    f[:, 60:] = 255
    x = preprocess_squared(f, (28, 56))
    assert x.shape == (3, 28, 56)
    assert x[0, :, -1].min() == pytest.approx((1 - 0.485) / 0.229, abs=1e-5)
    assert x[0, :, 0].max() == pytest.approx(-0.485 / 0.229, abs=1e-5)


# rotations


def test_rotations_keep_the_canvas_and_turn_about_half_the_size():
    f = frame(9, 9)
    same, half = rotations(f, [0, 180])
    assert np.array_equal(same, f)
    # About (w/2, h/2), not (w-1)/2: a half turn sends x to w - x, so column 0 comes from outside, and
    # reflect-101 brings in column w of the infinite picture, which is column w - 2.
    assert np.array_equal(half[1:, 1:], f[1:, 1:][::-1, ::-1])
    assert np.array_equal(half[1:, 0], f[1:, 7][::-1])
    assert [r.shape for r in rotations(frame(20, 30))] == [(20, 30, 3)] * 8


def test_a_quarter_turn_is_counter_clockwise():
    f = np.zeros((20, 20, 3), dtype=np.uint8)
    f[2:5, 9:12] = 255  # top middle
    (turned,) = rotations(f, [90])
    ys, xs = np.nonzero(turned[:, :, 0] > 128)
    assert xs.max() < 7  # left
    assert 8 <= ys.mean() <= 12


# tokens


def test_tokens_are_patch_tokens_after_the_final_layernorm(model):
    x = preprocess(frame(56, 70), 56)
    with torch.no_grad():
        out = model(x[None], output_hidden_states=True)
        inner = model.layernorm(out.hidden_states[2])[0, 1:].numpy()
    last = out.last_hidden_state[0, 1:].numpy()
    assert tokens(model, x).shape == (20, 24)
    assert np.allclose(tokens(model, x), last, atol=1e-5)
    assert np.array_equal(tokens(model, x), tokens(model, x, 3))
    assert np.allclose(tokens(model, x, 2), inner, atol=1e-5)
    assert not np.allclose(tokens(model, x, norm=False), last, atol=0.1)
    for layer in (0, 4):
        with pytest.raises(ValueError, match="not in 1"):
            tokens(model, x, layer)


# mask


def test_official_dilation_runs_along_raster_order():
    grid = (5, 5)
    m = np.zeros(25, dtype=bool)
    m[9] = True  # row 1, last column
    assert np.flatnonzero(morph(m, grid, "official")).tolist() == [8, 9, 10]  # 10 is row 2, column 0
    # 4 = above, 14 = below: a 3x3 kernel on the grid takes them, and does not wrap
    assert np.flatnonzero(morph(m, grid, "2d")).tolist() == [3, 4, 8, 9, 13, 14]


def test_official_closing_fills_gaps_along_raster_order_only():
    m = np.zeros(30, dtype=bool)
    m[[4, 9]] = True  # dilated 3..5 and 8..10; the gap 6, 7 closes
    assert np.flatnonzero(morph(m, (3, 10), "official")).tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    m[:] = False
    m[[4, 10]] = True  # dilated 3..5 and 9..11; the gap 6, 7, 8 is too wide
    assert np.flatnonzero(morph(m, (3, 10), "official")).tolist() == [3, 4, 5, 9, 10, 11]


def test_closing_reaches_the_border():
    # cv2 erodes as if all beyond the border were set: what is one patch off the border is closed onto it
    m = np.zeros(20, dtype=bool)
    m[2] = True  # dilated 1..3
    assert np.flatnonzero(morph(m, (2, 10), "official")).tolist() == [0, 1, 2, 3]
    m = np.zeros((7, 7), dtype=bool)
    m[2, 3] = True  # dilated rows 1..3, columns 2..4
    expected = np.zeros((7, 7), dtype=bool)
    expected[0:4, 2:5] = True
    assert np.array_equal(morph(m.reshape(-1), (7, 7), "2d").reshape(7, 7), expected)


def object_tokens(rows, cols, where, value=20.0, dims=8):
    t = np.random.default_rng(RNG_SEED).normal(0, 0.01, (rows, cols, dims))
    t[where] += value * np.eye(dims)[0]
    return t.reshape(-1, dims).astype(np.float32)


@pytest.mark.parametrize("sign", [1, -1])
def test_pca_mask_finds_a_centred_object_whatever_its_sign(sign):
    centre = (slice(3, 7), slice(3, 7))
    t = sign * object_tokens(10, 10, centre)
    expected = np.zeros((10, 10), dtype=bool)
    expected[2:8, 2:8] = True
    assert np.array_equal(pca_mask(t, (10, 10), 10.0, "2d").reshape(10, 10), expected)
    expected[:] = False
    expected[3:7, 2:8] = True  # official: not grown vertically
    assert np.array_equal(pca_mask(t, (10, 10), 10.0, "official").reshape(10, 10), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_otsu_needs_an_object_that_fills_the_centre(sign):
    large = sign * object_tokens(12, 12, (slice(3, 9), slice(3, 9)))  # 36 of the 7 x 7 centre patches
    expected = np.zeros((12, 12), dtype=bool)
    expected[2:10, 2:10] = True
    assert np.array_equal(pca_mask(large, (12, 12), None, "2d").reshape(12, 12), expected)
    # with 25 of 49 the background passes the centre test too, and sklearn's sign decides which is taken
    middling = sign * object_tokens(12, 12, (slice(4, 9), slice(4, 9)))
    assert pca_mask(middling, (12, 12), None, "2d")[0] == (sign == -1)
    # with 16 of 49 = 33 % the object never passes, and the mask is the background for either sign
    small = sign * object_tokens(12, 12, (slice(4, 8), slice(4, 8)))
    assert pca_mask(small, (12, 12), None, "2d")[0]


def test_an_empty_mask_is_a_full_one():
    assert pca_mask(object_tokens(10, 10, (slice(3, 7), slice(3, 7)), 1.0), (10, 10)).all()


def test_otsu_on_two_values():
    values = np.array([0.0, 0.0, 0.0, 256.0])
    assert otsu_threshold(values) == 1.0  # the gap is a plateau: its first bin, 0..1, upper edge
    assert otsu_threshold(values, "centre") == 0.5
    # three groups 0 | 128 | 256 with weights 2, 1, 1: between-class variance is larger at the first gap,
    # 2 * 2 * 192^2 against 3 * 1 * (256 - 128/3)^2
    assert otsu_threshold(np.array([0.0, 0.0, 128.0, 256.0])) == 1.0
    assert otsu_threshold(np.array([0.0, 128.0, 256.0, 256.0])) == 129.0


# distance, score, map


def test_distances_by_hand():
    bank = np.array([[2.0, 0.0], [0.0, 5.0]])
    found = np.array([[3.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [3.0, 4.0]])
    expected = [0.0, 1 - np.sqrt(0.5), 1.0, 0.2]
    assert np.allclose(distances(found, bank), expected, atol=1e-12)
    assert np.allclose(distances(found, bank, np.float32), expected, atol=1e-6)


def test_image_score_by_hand():
    assert image_score(np.arange(1024.0)) == pytest.approx(np.arange(1014, 1024).mean())  # top 10
    assert image_score(np.arange(199.0)) == 198.0  # int(1.99) = 1
    assert image_score(np.arange(200.0)) == 198.5
    assert image_score(np.arange(50.0).reshape(5, 10)) == 49.0  # int(0.5) = 0: the maximum
    masked = np.zeros(1000)
    masked[:4] = 1.0  # 996 masked patches stay in N: 10 patches count, 6 of them zero
    assert image_score(masked) == pytest.approx(0.4)


def test_anomaly_map_by_hand():
    flat = anomaly_map(np.full((4, 4), 0.3), (50, 60))
    assert flat.shape == (50, 60)
    assert np.allclose(flat, 0.3)
    # half-pixel centres: 2 -> 4 columns gives 0, 1/4, 3/4, 1 (corners aligned it would be thirds)
    ramp = anomaly_map(np.array([[0.0, 1.0]]), (1, 4), sigma=0.01)
    assert np.allclose(ramp, [[0.0, 0.25, 0.75, 1.0]])
    # an impulse: nothing beyond 4 sigma = 16 pixels, and the mass is kept
    point = np.zeros((41, 41))
    point[20, 20] = 1.0
    smooth = anomaly_map(point, (41, 41))
    rows = np.flatnonzero(smooth.sum(axis=1))
    assert (rows.min(), rows.max()) == (4, 36)
    assert smooth.sum() == pytest.approx(1.0)
    k = np.exp(-0.5 * (np.arange(-16, 17) / 4) ** 2)
    assert smooth[20, 24] == pytest.approx(k[16] * k[20] / k.sum() ** 2)


# the whole


@pytest.mark.parametrize(("size", "grid"), [(56, (4, 5)), ((42, 70), (3, 5))])
def test_a_reference_frame_is_normal(model, size, grid):
    f = frame(60, 80)
    detector = ReferenceAnomalyDINO(model, size=size).fit([f], rotate=False)
    assert detector.bank.shape == (grid[0] * grid[1], 24)
    score, smooth, d, mask = detector.predict(f)
    assert abs(score) < 1e-12
    assert smooth.shape == (60, 80)
    assert d.shape == mask.shape == grid
    assert mask.all()
    other, *_ = detector.predict(frame(60, 80, 1))
    assert other > 1e-4
    assert detector.fit([f, f], rotate=True).bank.shape == (16 * grid[0] * grid[1], 24)


def test_masked_patches_count_as_zero(model):
    detector = ReferenceAnomalyDINO(model, size=56, mask=True, threshold=None, morphology="2d")
    detector.fit([frame(56, 56)], rotate=False)
    f = np.zeros((56, 56, 3), dtype=np.uint8)
    f[14:28, 14:28] = 255
    score, _, d, mask = detector.predict(f)
    found, grid = detector.features(f)
    plain = distances(found, detector.bank).reshape(grid)
    assert np.array_equal(d, np.where(mask, plain, 0))
    assert score == pytest.approx(d.max())


# batched zero-shot


def test_batch_zero_shot_by_hand():
    def picture(*degrees):
        a = np.radians(degrees)
        return np.stack([np.cos(a), np.sin(a)], axis=1) * 3

    batch = [picture(0, 10), picture(60, 90), picture(-60, 180)]
    away = 1 - np.cos(np.radians([60, 60, 90, 180]))
    for share, expected in [(0.001, away[0]), (0.5, away[0]), (0.75, away[0]), (1.0, away[:3].mean())]:
        first = batch_zero_shot_distances(batch, share)[0]
        assert first.shape == (2,)
        assert first[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="two"):
        batch_zero_shot_distances(batch[:1])


# metrics


def test_image_auroc_by_hand():
    assert image_auroc([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]) == 1.0
    assert image_auroc([0.1, 0.3, 0.3, 0.4], [0, 0, 1, 1]) == pytest.approx(3.5 / 4)
    assert image_auroc([0.4, 0.3, 0.2, 0.1], [False, False, True, True]) == 0.0


def test_pro_of_the_truth_and_of_noise():
    rng = np.random.default_rng(RNG_SEED)
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[5:15, 5:20] = 255
    mask[25:30, 30:35] = 255
    masks = [mask, np.zeros_like(mask), mask.T]
    assert pro([m.astype(float) for m in masks], masks) == pytest.approx(1.0)
    assert pro([rng.random((40, 40)) for _ in masks], masks) == pytest.approx(0.15, abs=0.03)
    assert pro([np.zeros((40, 40)) for _ in masks], masks) == pytest.approx(0.15)  # one big tie: the diagonal


def test_pro_by_hand():
    # Two 8-connected regions, of 2 (touching at a corner) and 1 pixels, and 10 pixels outside.
    mask = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=np.uint8)
    mask = np.hstack([mask, np.array([[1], [0], [0]], dtype=np.uint8)])  # 3 x 5: 12 outside
    scores = np.zeros((3, 5))
    scores[0, 0] = 0.9  # half of region 1: (0, 0.25)
    scores[2, 2] = scores[0, 4] = 0.8  # a tie of an outside pixel and region 2: (1/12, 0.75)
    scores[1, 1] = 0.7  # the rest of region 1: (1/12, 1)
    # (0,0) (0,.25) (1/12,.75) (1/12,1) (1,1)
    expected = (1 / 12 * 0.5 + (0.3 - 1 / 12) * 1.0) / 0.3
    assert pro([scores], [mask]) == pytest.approx(expected)
