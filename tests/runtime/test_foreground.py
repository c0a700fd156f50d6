"""Searching for the patches inside the mask alone changes nothing but the time."""

from dataclasses import replace

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.pipeline import Pipeline, inspect


class Counting:
    """A memory that counts what it is asked for."""

    is_exact = True

    def __init__(self, memory):
        self.memory, self.asked = memory, []

    def distances(self, queries):
        self.asked.append(len(queries[0]))
        return self.memory.distances(queries)


@pytest.fixture(params=["anomalydino", "patchead", "subspace", "anomalydino-layers"])
def detector(request, two_layer_bundle, good_frames):
    recipe = get_recipe(request.param).with_(mask="on", background_weight=0.0, rotations_deg=(0.0,))
    if recipe.head == "subspace":
        recipe = recipe.with_(subspace_components=4)
    if request.param == "anomalydino-layers":
        recipe = recipe.with_(layers=(1, 2))
    with Encoder.load(two_layer_bundle, threads=1) as encoder:
        yield Detector.enroll(encoder, good_frames[:3], recipe=recipe)


def both_ways(detector, frame):
    """The result with all patches searched for, with those of the mask alone, and how many those are."""
    found = []
    for foreground_only in (False, True):
        pipeline = replace(detector._pipeline, foreground_only=foreground_only)
        counting = Counting(detector._state.memory)
        result = inspect(pipeline, frame, counting, detector.calibration).result
        found.append((result, counting.asked))
    return found


def test_the_result_is_the_same(detector, defective):
    (every, all_patches), (inside, fewer) = both_ways(detector, defective.frame)
    assert fewer == [every.mask.sum()]
    assert fewer < all_patches
    assert inside.score == pytest.approx(every.score, rel=1e-5)
    np.testing.assert_allclose(inside.patch_distances, every.patch_distances, atol=1e-6)
    np.testing.assert_allclose(inside.map, every.map, atol=1e-6)
    assert inside.patch_distances[~inside.mask].max() == 0


def test_a_background_that_is_damped_is_searched(mini_encoder, good_frames, defective):
    recipe = get_recipe("anomalydino-informed").with_(mask="on", background_weight=0.5)
    detector = Detector.enroll(mini_encoder, good_frames[:3], recipe=recipe)
    (_, all_patches), (_, same) = both_ways(detector, defective.frame)
    assert same == all_patches == [64]


def test_a_detector_can_be_told_to_search_for_all(detector, tmp_path):
    detector.save(tmp_path / "part.edgead")
    loaded = Detector.load(tmp_path / "part.edgead", encoder=detector.encoder, foreground_only=False)
    assert not loaded._pipeline.foreground_only
    assert Pipeline(detector.encoder, detector.recipe, detector.mask).foreground_only
