"""What is shown beside a defect is really the nearest patch."""

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.bank import normalize
from edgead_runtime.views import rotate


def test_it_names_the_nearest_patch(mini_encoder, good_frames, defective, quick):
    recipe = quick.with_(rotations_deg=[0, 90], flips=["horizontal"])
    detector = Detector.enroll(mini_encoder, good_frames[:3], recipe=recipe)
    result, explanations = detector.explain(defective.frame, limit=2)
    assert result.score == detector(defective.frame).score
    assert 1 <= len(explanations) <= 2
    why = explanations[0]
    assert why.region == result.regions[0]
    # The patch is the most unusual one of the region, and lies on the defect.
    row, column = why.patch.y * 112 // 160 // 14, why.patch.x * 112 // 160 // 14
    place = np.unravel_index(result.patch_distances.argmax(), (8, 8))
    assert abs(row - place[0]) <= 1
    assert abs(column - place[1]) <= 1
    assert defective.x - 20 <= why.patch.x <= defective.x + defective.width
    # Encoded again, what is shown has that distance to the patch.
    shown = normalize(mini_encoder.encode(why.reference_frame).tokens)
    query = normalize(mini_encoder.encode(defective.frame).tokens)[result.patch_distances.argmax()]
    assert 1 - (shown @ query).max() == pytest.approx(why.distance, abs=1e-5)
    assert why.distance == pytest.approx(result.patch_distances.max(), abs=1e-5)
    assert why.reference in {reference.picture.name for reference in detector.references}


@pytest.mark.parametrize(("turn", "view"), [(0, "as taken"), (90, "turned by 90°")])
def test_it_says_which_view(mini_encoder, good_frames, quick, turn, view):
    """A frame that is a good picture turned finds itself in that view."""
    recipe = quick.with_(rotations_deg=[0, 90])
    detector = Detector.enroll(mini_encoder, good_frames[:2], recipe=recipe, threshold=0.0)
    frame = rotate(good_frames[1], turn).copy()
    frame[70:84, 70:84] = 255 - frame[70:84, 70:84]
    _, explanations = detector.explain(frame)
    assert {why.view for why in explanations[:1]} <= {"as taken", "turned by 90°"}
    assert explanations[0].reference_frame.shape == (160, 160, 3)
    _, clean = detector.explain(rotate(good_frames[1], turn))
    assert not clean or clean[0].view == view


def test_nothing_red_nothing_to_explain(detector, good_frames):
    result, explanations = detector.explain(good_frames[0])
    assert not result.is_anomaly
    assert explanations == ()


def test_a_region_on_the_strip_that_is_cut_off(build_bundle, tmp_path, part, quick):
    """The release's map lies over the whole frame: a region of it may be where no patch is."""
    with Encoder.load(build_bundle(tmp_path / "e"), threads=1) as encoder:
        good = [np.pad(part(number), ((0, 0), (0, 18), (0, 0)), mode="edge") for number in range(2)]
        frame = good[1].copy()
        frame[70:90, 148:160] = (255, 0, 255)
        recipe = quick.with_(map_extent="frame")
        detector = Detector.enroll(encoder, good, recipe=recipe, threshold=0.0)
        result, explanations = detector.explain(frame)
        row, column = divmod(int(result.patch_distances.argmax()), 8)
        assert column >= 6
        assert explanations[0].patch.x == int(column * 20)
        assert explanations[0].patch.y == int(row * 20)
