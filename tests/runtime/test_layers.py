"""Several layers at once, each with a memory of its own."""

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.bank import normalize
from edgead_runtime.errors import BundleError, RecipeError
from edgead_runtime.scoring import image_score


@pytest.fixture(scope="module")
def encoder(two_layer_bundle):
    with Encoder.load(two_layer_bundle, threads=1) as loaded:
        yield loaded


def _distances(encoder, good, frame, layer):
    """Of one layer alone, worked out plainly."""

    def tokens(picture):
        return normalize(encoder.encode(picture, layers=(layer,)).tokens).astype(np.float64)

    return 1 - (tokens(frame) @ np.concatenate([tokens(picture) for picture in good]).T).max(axis=1)


@pytest.mark.parametrize("layers", [(1, 2), (2, 1), "all"])
@pytest.mark.parametrize("score_layers", ["last", "all"])
def test_the_map_is_the_mean_and_the_score_as_the_recipe_says(
    encoder, good_frames, defective, quick, layers, score_layers
):
    recipe = quick.with_(layers=layers, score_layers=score_layers, top_fraction=0.1)
    detector = Detector.enroll(encoder, good_frames[:2], recipe=recipe)
    result = detector(defective.frame)
    layers = (1, 2) if layers == "all" else layers
    each = {layer: _distances(encoder, good_frames[:2], defective.frame, layer) for layer in layers}
    mean = (each[1] + each[2]) / 2
    assert np.abs(each[1] - each[2]).max() > 1e-3  # something to tell apart
    assert result.patch_distances.ravel() == pytest.approx(mean, abs=1e-5)
    scored = mean if score_layers == "all" else each[layers[-1]]
    assert result.score == pytest.approx(image_score(scored, 0.1), abs=1e-5)
    assert detector.layers == layers


def test_leaving_one_out_uses_every_layer(encoder, good_frames, quick):
    recipe = quick.with_(layers=[1, 2], score_layers="all")
    detector = Detector.enroll(encoder, good_frames[:3], recipe=recipe)
    for index, score in enumerate(detector.calibration.normal_scores):
        others = [frame for number, frame in enumerate(good_frames[:3]) if number != index]
        without = Detector.enroll(encoder, others, recipe=recipe)
        assert score == pytest.approx(without(good_frames[index]).score, abs=1e-6)


@pytest.mark.parametrize("head", ["bank", "subspace"])
def test_saved_and_loaded(encoder, good_frames, defective, quick, tmp_path, head):
    recipe = quick.with_(layers=[2, 1], head=head, subspace_components=3)
    detector = Detector.enroll(encoder, good_frames[:2], recipe=recipe)
    detector.save(tmp_path / "part.edgead")
    loaded = Detector.load(tmp_path / "part.edgead", encoder=encoder)
    assert loaded.layers == (2, 1)
    ours, theirs = detector(defective.frame), loaded(defective.frame)
    assert theirs.score == ours.score
    assert np.array_equal(theirs.map, ours.map)


def test_a_layer_that_the_encoder_lacks_says_what_to_export(encoder, good_frames, quick):
    with pytest.raises(RecipeError, match="no layer 5") as caught:
        Detector.enroll(encoder, good_frames[:2], recipe=quick.with_(layers=[1, 5]))
    assert "--layers 1,5" in caught.value.remedy


def test_layers_that_make_no_sense(quick):
    for layers in ([1, 1], [0], [-2, 1]):
        with pytest.raises(RecipeError, match="layers"):
            quick.with_(layers=layers)


def test_a_recipe_of_other_layers_than_its_memory_is_refused(encoder, good_frames, quick, tmp_path):
    detector = Detector.enroll(encoder, good_frames[:2], recipe=quick.with_(layers=[1, 2]))
    path = tmp_path / "part.edgead"
    detector.save(path)
    changed = path.read_bytes().replace(
        b'"layers": [\n      1,\n      2\n    ]', b'"layers": [\n      2,\n      1\n    ]'
    )
    assert changed != path.read_bytes()
    once = path.read_bytes().replace(
        b'"layers": [\n      1,\n      2\n    ]', b'"layers": [\n      2,\n      1\n    ]', 1
    )
    path.write_bytes(once)
    with pytest.raises(BundleError):
        Detector.load(path, encoder=encoder)


def test_only_unused_layers_are_worth_a_note(encoder, good_frames, quick):
    both = Detector.enroll(encoder, good_frames[:2], recipe=quick.with_(layers=[1, 2]))
    one = Detector.enroll(encoder, good_frames[:2], recipe=quick.with_(layers=[1]))
    assert not [note for note in both.notes if "layers" in note]
    assert [note for note in one.notes if "uses 1; an encoder exported with --layers 1 alone" in note]
