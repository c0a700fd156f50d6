"""The mask, from the first principal component to the test that decides about it."""

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.errors import BundleError, RecipeError
from edgead_runtime.masking import (
    attention_mask,
    first_component,
    masking_test,
    otsu_threshold,
    pca_mask,
    reference_threshold,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA


def _tokens(shape, seed, spread=(9.0, 4.0, 2.0)):
    """Tokens with a few strong directions and a mean of their own."""
    random = np.random.default_rng(seed)
    directions = random.standard_normal((len(spread), shape[1]))
    strengths = random.standard_normal((shape[0], len(spread))) * spread
    tokens = (
        strengths @ directions + 0.1 * random.standard_normal(shape) + 5 * random.standard_normal(shape[1])
    )
    return tokens.astype(np.float32)


def _sklearn(tokens):
    return PCA(n_components=1, svd_solver="full").fit_transform(tokens)[:, 0]


# The component


@pytest.mark.parametrize("shape", [(1024, 384), (256, 384), (64, 16), (1024, 5), (30, 384), (4, 16), (2, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_first_component_is_scikit_learns_sign_included(shape, seed):
    tokens = _tokens(shape, seed)
    expected = _sklearn(tokens)
    assert np.abs(first_component(tokens) - expected).max() <= 1e-4 * np.abs(expected).max()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(10, 80), st.integers(2, 40))
def test_first_component_on_pure_noise(seed, patches, dim):
    """Hardly a gap between the components: the variance is what must be right."""
    tokens = np.random.default_rng(seed).standard_normal((patches, dim)).astype(np.float32)
    ours, theirs = first_component(tokens), _sklearn(tokens)
    assert ours.var() == pytest.approx(theirs.var(), rel=1e-4)
    assert abs(ours.mean()) < 1e-4


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e6])
def test_equal_tokens_have_no_component(value):
    assert np.array_equal(first_component(np.full((64, 16), value, np.float32)), np.zeros(64))


def test_one_token():
    assert first_component(np.ones((1, 16), np.float32)).tolist() == [0.0]


def test_two_components_of_equal_variance():
    corners = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]] * 4, np.float32)
    assert first_component(corners).var() == pytest.approx(0.5)


def test_one_direction_only():
    """Rank one: all the rest of the subspace is rounding."""
    steps = np.linspace(-3, 3, 64, dtype=np.float32)
    direction = np.zeros(16, np.float32)
    direction[3], direction[5] = -0.8, 0.6
    component = first_component(np.outer(steps, direction))
    assert component == pytest.approx(-steps, abs=1e-5)  # its largest entry is made positive


def test_a_token_far_out_takes_the_component():
    tokens = _tokens((64, 16), 0, spread=(0.01,))
    tokens[17] += 1000
    assert np.abs(first_component(tokens)).argmax() == 17


@given(st.integers(0, 10**6))
def test_the_same_tokens_give_the_same_bits(seed):
    tokens = _tokens((64, 16), seed)
    assert np.array_equal(first_component(tokens), first_component(tokens.copy()))


# Otsu


def test_otsu_separates_two_heaps():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(-20, 2, 700), random.normal(30, 3, 300)]).astype(np.float32)
    assert (values > otsu_threshold(values)).sum() == 300


def test_otsu_of_two_values_is_between_them():
    assert 1 < otsu_threshold(np.array([1, 1, 1, 5], np.float32)) < 5


def test_otsu_of_one_value_puts_nothing_above():
    values = np.full(10, 3.7, np.float32)
    assert not (values > otsu_threshold(values)).any()


@settings(max_examples=50)
@given(st.lists(st.integers(0, 255), min_size=2, max_size=60), st.floats(0.01, 100), st.floats(-100, 100))
def test_otsu_minimizes_the_variance_within(levels, scale, shift):
    values = np.array(levels, np.float64)
    scaled = (values * scale + shift).astype(np.float32)
    if scaled.min() == scaled.max():
        return
    # The same 256 levels as the function sees, split by brute force.
    seen = np.round((scaled - scaled.min()) * (255 / (scaled.max() - scaled.min())))

    def within(above):
        return sum(len(side) * side.var() for side in (seen[above], seen[~above]) if len(side))

    best = min(within(seen > level) for level in range(255))
    assert within(scaled > otsu_threshold(scaled)) == pytest.approx(best, rel=1e-6, abs=1e-6)


# The mask


def _object_tokens(mask, sign=1.0, strength=30.0):
    """Tokens of two kinds, which the first component tells apart: positive in the mask for ``sign`` 1."""
    random = np.random.default_rng(5)
    direction = random.uniform(-0.5, 0.5, 16)
    direction[4] = 1.0
    direction /= np.linalg.norm(direction)
    tokens = np.where(mask.ravel()[:, None], sign, -sign) * direction * strength
    return (tokens + 0.01 * random.standard_normal(tokens.shape)).astype(np.float32)


def _disc(side=20, radius=6):
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return rows**2 + columns**2 <= radius**2


@pytest.mark.parametrize("morphology", ["official", "2d"])
@pytest.mark.parametrize("threshold", [None, 10.0])
def test_the_mask_does_not_depend_on_the_sign(morphology, threshold):
    masks = [
        pca_mask(_object_tokens(_disc(), sign), (20, 20), threshold=threshold, morphology=morphology)
        for sign in (1.0, -1.0)
    ]
    assert np.array_equal(*masks)
    assert masks[0][_disc()].all()
    assert not masks[0][0].any()


def test_official_morphology_runs_along_raster_order():
    """Worked out by hand: ± 1 in raster order, round the row's end, and never up or down."""
    grid = (10, 10)
    mask = np.zeros(grid, bool)
    mask[3:7, 3:7] = True  # a centre block, so that the sign stays
    mask[0, 9] = True
    mask[8, 4] = True
    found = pca_mask(_object_tokens(mask), grid, threshold=0.0, morphology="official")
    expected = np.zeros(grid, bool)
    expected[3:7, 2:8] = True
    expected[0, 8:10] = True
    expected[1, 0] = True  # the neighbour of (0, 9) in raster order
    expected[8, 3:6] = True
    assert np.array_equal(found, expected)


def test_official_morphology_closes_gaps_of_two_in_raster_order():
    grid = (10, 10)
    mask = np.zeros(grid, bool)
    mask[3:7, 3:7] = True
    mask[8, 2] = mask[8, 7] = True  # dilated to 1-3 and 6-8: the two between are closed
    found = pca_mask(_object_tokens(mask), grid, threshold=0.0, morphology="official")
    assert found[8].tolist() == [False] + [True] * 8 + [False]


def test_morphology_2d_runs_in_both_directions():
    grid = (12, 12)
    mask = np.zeros(grid, bool)
    mask[4:9, 4:9] = True
    mask[0, 11] = True
    found = pca_mask(_object_tokens(mask), grid, threshold=0.0, morphology="2d")
    expected = np.zeros(grid, bool)
    expected[3:10, 3:10] = True
    expected[0:2, 10:12] = True
    assert np.array_equal(found, expected)


def test_an_empty_mask_counts_as_a_full_one():
    mask = pca_mask(_object_tokens(_disc()), (20, 20), threshold=1e6, morphology="official")
    assert mask.all()


@pytest.mark.parametrize("threshold", [None, 10.0])
def test_equal_tokens_mask_nothing(threshold):
    assert pca_mask(np.ones((64, 16), np.float32), (8, 8), threshold=threshold, morphology="official").all()


@pytest.mark.parametrize(("ones", "flips"), [(4, False), (3, True)])
def test_the_sign_is_kept_above_35_percent_of_the_centre(ones, flips):
    """A grid of 5 x 6: the centre window is rows 1-3, columns 1-3, so 35 % of it is 3.15 patches."""
    centre = [(1, 1), (1, 2), (1, 3), (2, 1)][:ones]
    tokens = np.zeros((30, 16), np.float32)
    # One entry dominates the component, so it is positive where the tokens' entry is.
    level = np.full((5, 6), -1.0)
    for place in centre:
        level[place] = 5.0
    tokens[:, 2] = level.ravel()
    mask = pca_mask(tokens, (5, 6), threshold=0.5, morphology="2d")
    above = level > 0
    # Where the sign flips, the mask holds what lies below the mean: everything but the few.
    assert mask[4, 5] == flips
    assert flips or mask[above].all()


def test_the_threshold_of_a_detector_is_the_median_over_its_references():
    disc = _disc()
    sets = [_object_tokens(disc, sign, strength) for sign, strength in ((1, 28), (-1, 29), (1, 500))]
    alone = [reference_threshold([tokens], (20, 20)) for tokens in sets]
    middle = reference_threshold(sets, (20, 20))
    assert middle == np.median(alone)
    # The sign of the second was turned before its threshold was taken.
    mask = pca_mask(sets[1], (20, 20), threshold=middle, morphology="2d")
    assert mask[disc].all()
    assert mask.mean() < 0.6


# The masking test


def _fails(mask, *because):
    test = masking_test([_disc(), mask])
    assert not test.passed
    assert test.reason.startswith("not masked: in reference 2 ")
    assert all(words in test.reason for words in because)


def test_one_object_clear_of_the_border_passes():
    test = masking_test([_disc(radius=5), _disc(radius=8)])
    assert test.passed
    assert "20% to 52% of the frame" in test.reason


def test_a_speck():
    speck = np.zeros((20, 20), bool)
    speck[10, 10] = True
    _fails(speck, "cover 0%")


def test_nearly_everything():
    _fails(np.ones((20, 20), bool), "cover 100%")


def test_an_object_at_the_border():
    mask = np.zeros((20, 20), bool)
    mask[:8] = True
    _fails(mask, "of the border")


def test_a_texture():
    checks = np.add.outer(np.arange(20) // 3, np.arange(20) // 3) % 2 == 0
    checks[[0, -1]] = checks[:, [0, -1]] = False
    checks[5:, 10] = checks[10] = False  # not even diagonally one
    _fails(checks, "falls apart")


def test_a_ring():
    _fails(_disc() & ~_disc(radius=3), "holes")


def test_a_single_missing_patch_is_no_hole():
    mask = _disc()
    mask[10, 10] = False
    assert masking_test([mask]).passed


def test_otsu_lies_in_the_middle_of_an_empty_gap():
    values = np.concatenate([np.linspace(0, 1, 50), np.linspace(9, 10, 50)]).astype(np.float32)
    assert otsu_threshold(values) == pytest.approx(5, abs=1e-5)


def test_attention_is_scaled_before_it_is_compared():
    attention = np.array([0.2, 0.21, 0.3, 1.2], np.float32)
    assert attention_mask(attention, (2, 2), threshold=0.05).tolist() == [[False, False], [True, True]]
    assert attention_mask(attention * 7, (2, 2), threshold=0.05).tolist() == [[False, False], [True, True]]
    assert attention_mask(np.full(4, 0.3, np.float32), (2, 2), threshold=0.05).all()


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_attention_mask_is_never_empty(value):
    attention = np.linspace(0, 1, 9, dtype=np.float32)
    assert attention_mask(attention, (3, 3), threshold=1.0).all()
    attention[3] = value
    assert attention_mask(attention, (3, 3), threshold=0.05).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("fused", [False, True])
def test_attention_that_is_no_number_is_refused(
    fused, value, fused_two_layer_bundle, part, defective, quick, monkeypatch
):
    recipe = quick.with_(mask="on", mask_from="attention", layers=(2,))
    with Encoder.load(fused_two_layer_bundle, engine="onnxruntime", fused=fused) as encoder:
        detector = Detector.enroll(encoder, [part(0), part(1)], recipe=recipe)
        run = encoder._engine.run

        def broken(feeds, outputs=None):
            found = run(feeds, outputs)
            found["cls_attention"] = found["cls_attention"].copy()
            found["cls_attention"][0, 0] = value
            return found

        monkeypatch.setattr(encoder._engine, "run", broken)
        with pytest.raises(BundleError, match="not numbers"):
            detector(defective.frame)


def test_a_threshold_that_no_attention_is_above(quick):
    with pytest.raises(RecipeError, match="nothing to inspect"):
        quick.with_(mask="on", mask_from="attention", mask_threshold=1.0)
    assert quick.with_(mask="on", mask_threshold=10.0).mask_threshold == 10
