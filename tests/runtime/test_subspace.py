"""The subspace of normal patches against plain linear algebra."""

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.bank import normalize
from edgead_runtime.enrollment import halves_distances
from edgead_runtime.errors import RecipeError
from edgead_runtime.subspace import Moments, Subspace
from hypothesis import given
from hypothesis import strategies as st


def _tokens(seed, count=200, width=12, rank=4):
    random = np.random.default_rng(seed)
    flat = random.standard_normal((count, rank)) @ random.standard_normal((rank, width)) + 2
    return normalize((flat + 0.01 * random.standard_normal((count, width))).astype(np.float32))


def _plain(tokens, components):
    """Mean and components by SVD, in double precision."""
    exact = tokens.astype(np.float64)
    centred = exact - exact.mean(axis=0)
    rows = np.linalg.svd(centred, full_matrices=False)[2]
    return exact.mean(axis=0), rows[:components]


@given(st.integers(0, 50), st.integers(1, 4))
def test_it_is_principal_component_analysis(seed, kept):
    normal, query = _tokens(seed), _tokens(seed + 1000, count=30)
    mean, components = _plain(normal, kept)
    subspace = Subspace.fit([Moments.of(normal[:80]), Moments.of(normal[80:])], kept)
    assert subspace.components.shape == components.shape
    centred = query - mean
    residual = centred - centred @ components.T @ components
    assert subspace.distances(query) == pytest.approx((residual**2).sum(axis=1) / 2, abs=2e-5)


def test_all_components_leave_nothing():
    normal = _tokens(0)
    subspace = Subspace.fit([Moments.of(normal)], 64)
    assert len(subspace.components) == 12
    assert subspace.distances(_tokens(1)) == pytest.approx(np.zeros(200), abs=1e-5)


def test_patches_that_are_all_the_same():
    same = np.repeat(_tokens(0)[:1], 10, axis=0)
    distances = Subspace.fit([Moments.of(same)], 3).distances(_tokens(1))
    assert np.isfinite(distances).all()
    assert distances.max() > 0.01


def test_a_picture_against_its_other_half():
    """What is only in one half is far from the other; what is in both is near."""
    tokens = _tokens(3, count=64, width=12, rank=2)
    odd = tokens.copy()
    odd[9] = normalize(np.eye(12, dtype=np.float32)[:1])
    plain, found = halves_distances(tokens, (8, 8), 3), halves_distances(odd, (8, 8), 3)
    assert found.shape == (8, 8)
    assert found[1, 1] > 10 * plain.max()
    assert halves_distances(tokens[:8], (8, 1), 3).shape == (8, 1)


def test_a_detector_with_a_subspace(mini_encoder, good_frames, defective, quick, tmp_path):
    recipe = quick.with_(head="subspace", subspace_components=3, rotations_deg=[0, 180])
    detector = Detector.enroll(mini_encoder, good_frames[:4], recipe=recipe)
    assert detector.references[0].tokens == ()
    assert detector(defective.frame).is_anomaly
    assert detector(defective.frame).score > 2 * max(detector(frame).score for frame in good_frames[4:])

    # Left out means fitted without it: the threshold is worked out again from scratch.
    scores = []
    for index in range(4):
        others = [frame for number, frame in enumerate(good_frames[:4]) if number != index]
        scores.append(Detector.enroll(mini_encoder, others, recipe=recipe)(good_frames[index]).score)
    assert detector.calibration.normal_scores == pytest.approx(scores, rel=1e-4)

    detector.save(tmp_path / "part.edgead")
    loaded = Detector.load(tmp_path / "part.edgead", encoder=mini_encoder)
    assert loaded(defective.frame).score == detector(defective.frame).score
    before = loaded(good_frames[5]).score
    loaded.add_good(good_frames[5])
    anew = Detector.enroll(mini_encoder, [*good_frames[:4], good_frames[5]], recipe=recipe)
    assert loaded(defective.frame).score == pytest.approx(anew(defective.frame).score, rel=1e-5)
    loaded.recalibrate()
    assert loaded.calibration.pictures == 5
    loaded.undo()
    assert loaded(good_frames[5]).score == before


def test_it_is_smaller_than_a_bank(mini_encoder, good_frames, quick, tmp_path):
    """At full size, 4-shot with eight turns at 448 px: 1.2 MB instead of 50 MB; here what scales."""
    kept = {}
    for head in ("bank", "subspace"):
        detector = Detector.enroll(
            mini_encoder, good_frames[:2], recipe=quick.with_(head=head, subspace_components=3)
        )
        kept[head] = sum(
            array.nbytes
            for reference in detector.references
            for array in (*reference.tokens, *(moments.products for moments in reference.moments))
        )
    assert kept["bank"] == 2 * 64 * 16 * 4
    assert kept["subspace"] == 2 * 16 * 17 // 2 * 4


def test_one_picture_gives_a_labelled_guess(mini_encoder, good_frames, quick):
    detector = Detector.enroll(
        mini_encoder, good_frames[:1], recipe=quick.with_(head="subspace", subspace_components=3)
    )
    assert detector.calibration.method == "self-similarity"
    assert detector.threshold > 0


@pytest.mark.parametrize(
    "field",
    [{"neighbours": 3}, {"reduction": "worst-references"}, {"view_reduction": "mean"}, {"align": "frame"}],
)
def test_what_needs_single_references_is_refused(quick, field):
    with pytest.raises(RecipeError, match=next(iter(field))):
        quick.with_(head="subspace", subspace_components=3, **field)


def test_it_has_nothing_to_show_beside_a_defect(two_layer_bundle, good_frames, quick):
    with Encoder.load(two_layer_bundle, threads=1) as encoder:
        detector = Detector.enroll(
            encoder, good_frames[:2], recipe=quick.with_(head="subspace", subspace_components=3)
        )
        with pytest.raises(RecipeError, match="no patches to show"):
            detector.explain(good_frames[2])


def test_a_subspace_of_everything_is_refused(mini_encoder, good_frames, quick):
    with pytest.raises(RecipeError, match="nothing would be outside"):
        Detector.enroll(mini_encoder, good_frames[:2], recipe=quick.with_(head="subspace"))
