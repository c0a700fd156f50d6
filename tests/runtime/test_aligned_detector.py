"""Detectors that align: at enrolment, to each frame, or not where it cannot be done."""

from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import cv2
import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.alignment import align, find_landmarks, warp
from edgead_runtime.bank import normalize
from edgead_runtime.images import decode_picture
from edgead_runtime.views import mirror


@pytest.fixture(scope="module")
def encoder(two_layer_bundle):
    with Encoder.load(two_layer_bundle, threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def cup():
    """A picture with plenty of landmarks, ``[300, 300, 3]``, turned and shifted as asked for."""
    data = (resources.files("edgead_export") / "pictures" / "coffee.jpg").read_bytes()
    frame = decode_picture(data, "coffee").frame[:300, :300]

    def moved(degrees=0.0, x=0.0, y=0.0):
        matrix = cv2.getRotationMatrix2D((150, 150), degrees, 1.0) + np.array([[0, 0, x], [0, 0, y]])
        return cv2.warpAffine(frame, matrix, (300, 300), borderMode=cv2.BORDER_REFLECT_101)

    return moved


def _recipe(name):
    """Without the mask, whose landmarks are another matter."""
    return get_recipe(name).with_(mask="off", mask_from="pca", background_weight=0.0)


def _tokens(encoder, frame):
    return normalize(encoder.encode(frame).tokens)


def _mean_over_views(query, views):
    """PatchEAD+: nearest in each view, the views averaged, half-cosine."""
    return np.mean([(1 - (query @ view.T).max(axis=1)) / 2 for view in views], axis=0)


def test_to_each_frame(encoder, cup):
    good, frame = [cup(), cup(5, 3, -4)], cup(-12, 6, 2)
    detector = Detector.enroll(encoder, good, recipe=_recipe("patchead+"))
    result = detector(frame)
    assert result.notes == ()
    assert "align" in result.timings_ms
    each = []
    for picture in good:
        found = align(find_landmarks(picture), find_landmarks(frame))
        assert found.found
        aligned = warp(picture, found, (300, 300))
        each.append([_tokens(encoder, view) for view in (picture, aligned, mirror(aligned, "both"))])
    expected = np.min([_mean_over_views(_tokens(encoder, frame), views) for views in each], axis=0)
    assert result.patch_distances.ravel() == pytest.approx(expected, abs=1e-5)


def test_to_the_first_reference(encoder, cup):
    good, frame = [cup(), cup(9, 3, -4)], cup(-2)
    detector = Detector.enroll(encoder, good, recipe=_recipe("patchead+once"))
    first, second = detector.references
    assert first.alignment is None
    assert second.alignment.found
    assert second.alignment.rotation_deg == pytest.approx(-9, abs=0.5)
    aligned = warp(good[1], second.alignment, (300, 300))
    views = [
        [_tokens(encoder, view) for view in (good[0], good[0], mirror(good[0], "both"))],
        [_tokens(encoder, view) for view in (good[1], aligned, mirror(aligned, "both"))],
    ]
    expected = np.min([_mean_over_views(_tokens(encoder, frame), of_one) for of_one in views], axis=0)
    assert detector(frame).patch_distances.ravel() == pytest.approx(expected, abs=1e-5)
    assert "align" not in detector(frame).timings_ms


def test_aligning_helps_where_parts_lie_otherwise(encoder, cup):
    good, frame = [cup(), cup(2)], cup(25, 5, 5)
    aligned = Detector.enroll(encoder, good, recipe=_recipe("patchead+").with_(view_reduction="nearest"))
    plain = Detector.enroll(encoder, good, recipe=_recipe("patchead"))
    assert aligned(frame).patch_distances.mean() < 0.7 * plain(frame).patch_distances.mean()


@pytest.mark.parametrize("recipe", ["patchead+", "patchead+once"])
def test_what_cannot_be_aligned_is_said(encoder, cup, recipe):
    blank = np.full((300, 300, 3), 90, np.uint8)
    blank[:150] += np.random.default_rng(0).integers(0, 2, (150, 300, 3), dtype=np.uint8)
    if recipe == "patchead+":
        detector = Detector.enroll(encoder, [cup(), cup(3)], recipe=_recipe(recipe))
        notes = detector(blank).notes
        assert len(notes) == 2
        assert "is not aligned: too few landmarks" in notes[0]
        # And the views as enrolled stand in.
        query = _tokens(encoder, blank)
        views = [
            [_tokens(encoder, view) for view in (picture, picture, mirror(picture, "both"))]
            for picture in (cup(), cup(3))
        ]
        expected = np.min([_mean_over_views(query, of_one) for of_one in views], axis=0)
        assert detector(blank).patch_distances.ravel() == pytest.approx(expected, abs=1e-5)
    else:
        detector = Detector.enroll(encoder, [cup(), blank], recipe=_recipe(recipe))
        assert not detector.references[1].alignment.found
        assert [note for note in detector.notes if "could not be aligned: too few landmarks" in note]


@pytest.mark.parametrize("recipe", ["patchead+", "patchead+once"])
def test_saved_loaded_and_learning(encoder, cup, tmp_path, recipe):
    detector = Detector.enroll(encoder, [cup(), cup(4), cup(-3)], recipe=_recipe(recipe))
    detector.save(tmp_path / "part.edgead")
    loaded = Detector.load(tmp_path / "part.edgead", encoder=encoder)
    frame = cup(8, 2, 2)
    assert np.array_equal(loaded(frame).patch_distances, detector(frame).patch_distances)
    before = loaded(frame).score
    loaded.add_good(cup(8, 1, 1))
    assert loaded(frame).score < before
    anew = Detector.enroll(encoder, [cup(), cup(4), cup(-3), cup(8, 1, 1)], recipe=_recipe(recipe))
    assert loaded(frame).score == pytest.approx(anew(frame).score, abs=1e-6)
    assert loaded.recalibrate().normal_scores == pytest.approx(anew.calibration.normal_scores, abs=1e-6)
    loaded.undo()
    assert loaded(frame).score == before


def test_leaving_one_out_aligns_the_others_to_it(encoder, cup):
    good = [cup(), cup(4), cup(-6)]
    detector = Detector.enroll(encoder, good, recipe=_recipe("patchead+"))
    for index, score in enumerate(detector.calibration.normal_scores):
        others = [frame for number, frame in enumerate(good) if number != index]
        fold = Detector.enroll(encoder, others, recipe=_recipe("patchead+"))
        assert fold(good[index]).score == pytest.approx(score, abs=1e-6)


def test_an_aligned_view_is_shown_as_it_lay(encoder, cup):
    recipe = _recipe("patchead+").with_(view_reduction="nearest")
    detector = Detector.enroll(encoder, [cup(), cup(2)], recipe=recipe, threshold=0.0)
    frame = cup(20).copy()
    frame[140:170, 140:170] = (0, 0, 255)
    _, explanations = detector.explain(frame)
    shown = explanations[0]
    assert shown.view in {"as taken", "aligned", "aligned, turned by 180°"}
    query = _tokens(encoder, frame)
    distances = (1 - query @ _tokens(encoder, shown.reference_frame).T) / 2
    assert np.abs(distances - shown.distance).min() < 1e-5


def test_threads_and_learning_at_once(encoder, cup):
    """Landmarks are kept between frames, and forgotten while other threads look them up."""
    detector = Detector.enroll(encoder, [cup(), cup(4)], recipe=_recipe("patchead+"))
    expected = detector(cup(8)).score
    frames = [cup(angle) for angle in (-6, -3, 2, 6)]

    def learn():
        for frame in frames:
            detector.add_good(frame)
            detector.undo()

    with ThreadPoolExecutor(3) as pool:
        learning = pool.submit(learn)
        scores = list(pool.map(lambda _: detector(cup(8)).score, range(8)))
        learning.result()
    assert all(score <= expected + 1e-6 for score in scores)
    assert detector(cup(8)).score == expected
    assert len(detector._pipeline._realign._known) <= 2 * 3 + 1
