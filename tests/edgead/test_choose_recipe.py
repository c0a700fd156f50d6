"""Choosing a recipe: what is tried, what it is measured by, and when the base stays."""

from dataclasses import replace

import numpy as np
import pytest
from e2e.drawn_parts import draw_part
from e2e.tiny_encoder import write_tiny_encoder
from edgead_runtime import Detector, EdgeadError, get_recipe
from edgead_runtime.images import Picture
from edgead_runtime.recipe import EIGHT_TURNS

from edgead.evaluation.metrics import image_auroc
from edgead.evaluation.remembering import RememberingEncoder
from edgead.selection.candidates import BASE, CANDIDATES, Candidate, candidates_for
from edgead.selection.choose import MARGIN, choose_recipe, decide
from edgead.selection.outcome import as_data, as_lines
from edgead.selection.trials import (
    Trial,
    draw_defects,
    inspected_pixels,
    look,
    patch_truth,
    share_better,
    try_candidate,
)

BASE_RECIPE = get_recipe("anomalydino")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    with RememberingEncoder.load(write_tiny_encoder(tmp_path_factory.mktemp("e") / "tiny")) as loaded:
        yield loaded


def plate(number):
    return np.repeat(draw_part(number)[:, :, None], 3, axis=2)


def good(count):
    return [Picture(f"good-{number}", plate(number)) for number in range(count)]


@pytest.fixture(scope="module")
def choice(encoder):
    return choose_recipe(encoder, good(3), BASE_RECIPE)


def trial(name, image_auroc, patch_ap, *, defects=200):
    """A trial of these measures, with as few defects missed as they say."""
    candidate = BASE if name == "base" else Candidate(name, f"{name} changed", {})
    wins = np.repeat(np.arange(defects)[:, None] < image_auroc * defects, 4, axis=1).astype(float)
    return Trial(candidate, BASE_RECIPE, wins, np.full(defects, patch_ap), bank_kb=1.0, search_ms=1.0)


def test_candidates_are_single_changes_that_make_a_recipe():
    for candidate in CANDIDATES:
        assert BASE_RECIPE.with_(**candidate.changes)
    names = [candidate.name for candidate in CANDIDATES]
    assert len(set(names)) == len(names)


def test_what_is_in_the_base_already_is_not_tried(encoder):
    names = {candidate.name for candidate in candidates_for(encoder, BASE_RECIPE)}
    assert {"base", "no turns", "no mask", "3 neighbours", "maximum"} <= names
    assert not {"eight turns", "auto mask", "1 neighbour", "top 1 %"} & names
    informed = {c.name for c in candidates_for(encoder, get_recipe("anomalydino-informed"))}
    assert "eight turns" in informed
    assert "no turns" not in informed


@pytest.mark.parametrize(
    ("fixed", "gone"),
    [
        ("rotations_deg", {"no turns"}),
        ("mask", {"no mask"}),
        ("mask_threshold", {"no mask"}),
        ("top_fraction", {"top 3 %", "maximum"}),
        ("smoothing_sigma_px", set()),
    ],
)
def test_what_a_person_set_stays(encoder, fixed, gone):
    before = {candidate.name for candidate in candidates_for(encoder, BASE_RECIPE)}
    after = {candidate.name for candidate in candidates_for(encoder, BASE_RECIPE, [fixed])}
    assert before - after == gone


def test_the_base_wins_unless_another_is_clearly_better():
    base = trial("base", 0.90, 0.50)
    clear = trial("clear", 0.92, 0.50 + 2 * MARGIN)
    slight = trial("slight", 0.91, 0.51)
    lopsided = trial("lopsided", 0.88, 0.90)
    assert decide([base, slight, lopsided])[0] is base
    assert decide([base, slight, clear, lopsided])[0] is clear
    assert decide([base, trial("equal", 0.90, 0.50)])[0] is base
    assert "stays as it is" in decide([base, slight])[1]
    assert "leave nothing to try" in decide([base])[1]


def test_a_gain_that_hangs_on_one_defect_is_none():
    base = trial("base", 0.5, 0.5, defects=8)
    precisions = np.full(8, 0.45)
    precisions[0] = 1.4
    lucky = replace(trial("lucky", 0.5, 0.5, defects=8), precisions=precisions)
    assert lucky.patch_ap > base.patch_ap + 2 * MARGIN
    assert share_better(lucky, base) < 0.95
    assert decide([base, lucky])[0] is base


def test_share_better_is_one_where_every_picture_agrees():
    assert share_better(trial("one", 0.9, 0.6), trial("base", 0.9, 0.5)) == 1.0
    assert share_better(trial("one", 0.9, 0.5), trial("base", 0.9, 0.5)) == 0.0


def test_a_picture_is_compared_with_the_others_only(encoder):
    pictures = good(3)
    detector = Detector.enroll(encoder, pictures, recipe=BASE_RECIPE)
    defects = draw_defects(detector, pictures)
    looks = look(encoder, pictures, BASE_RECIPE, defects)
    # Calibration leaves each out as well, by a way of its own.
    assert [result.score for result in looks.good] == pytest.approx(detector.calibration.normal_scores)
    measured = try_candidate(BASE, BASE_RECIPE, looks, defects)
    scores = [result.score for result in (*looks.good, *looks.defective)]
    truth = [False] * len(looks.good) + [True] * len(looks.defective)
    assert measured.image_auroc == pytest.approx(image_auroc(scores, truth))


def test_patches_that_are_covered_in_part_do_not_count():
    where = np.zeros((40, 40), dtype=bool)
    where[10:20, 10:24] = True  # all of patch (1, 1), two fifths of (1, 2)
    distances = np.arange(16, dtype=np.float32).reshape(4, 4)
    counted, defective = patch_truth(where, distances)
    assert counted[defective].tolist() == [5.0]
    assert 6.0 not in counted
    assert len(counted) == 15


def test_a_defect_smaller_than_half_a_patch_counts_where_it_is_largest():
    where = np.zeros((40, 40), dtype=bool)
    where[12:15, 18:24] = True  # 2 columns in patch (1, 1), 4 in (1, 2)
    counted, defective = patch_truth(where, np.arange(16, dtype=np.float32).reshape(4, 4))
    assert counted[defective].tolist() == [6.0]
    assert 5.0 not in counted


def test_the_choice_is_the_same_every_time_and_encodes_a_picture_once(encoder):
    encoder.forget()
    pictures = good(3)
    first = choose_recipe(encoder, pictures, BASE_RECIPE)
    # Eight views of three pictures, and three rounds of the four kinds on each.
    assert (first.pictures, first.defects) == (3, 36)
    assert first.encodes == 3 * len(EIGHT_TURNS) + 36
    again = choose_recipe(encoder, pictures, BASE_RECIPE)
    assert again.encodes == 0
    for one, two in zip(first.trials, again.trials, strict=True):
        assert one.candidate == two.candidate
        np.testing.assert_array_equal(one.wins, two.wins)
        np.testing.assert_array_equal(one.precisions, two.precisions)
    assert first.chosen.candidate == again.chosen.candidate
    assert first.trials[0].candidate is BASE
    for measured in first.trials:
        assert 0 <= measured.image_auroc <= 1
        assert 0 <= measured.patch_ap <= 1
    turned, straight = (
        next(t for t in first.trials if t.candidate.name == name) for name in ("base", "no turns")
    )
    assert turned.bank_kb == pytest.approx(8 * straight.bank_kb)


def test_defects_that_stand_out_are_told_apart(choice):
    assert choice.trials[0].image_auroc > 0.7


def test_a_recipe_that_was_changed_has_a_name_of_its_own(choice):
    for measured in choice.trials:
        expected = "anomalydino" if measured.candidate is BASE else "anomalydino-auto"
        assert measured.recipe.name == expected


def test_another_mask_that_comes_to_the_same_is_not_listed(choice):
    # The plate fills the frame, so the masking test masks nothing.
    assert "no mask" not in {measured.candidate.name for measured in choice.trials}


def test_at_most_eight_pictures_are_used(encoder):
    choice = choose_recipe(
        encoder, good(10), BASE_RECIPE.with_(rotations_deg=(0.0,)), fixed=["rotations_deg"]
    )
    assert (choice.pictures, choice.defects) == (8, 32)


@pytest.mark.parametrize("count", [0, 1])
def test_one_picture_cannot_be_left_out(encoder, count):
    with pytest.raises(EdgeadError, match="fewer than two"):
        choose_recipe(encoder, good(count), BASE_RECIPE)


def test_the_outcome_in_words_and_data(choice):
    lines = as_lines(choice)
    assert len(lines) == len(choice.trials) + 3
    assert sum("<- chosen" in line for line in lines) == 1
    assert lines[-1] == choice.reason
    data = as_data(choice)
    assert data["tried"][0]["name"] == "base"
    assert data["chosen"] == choice.chosen.candidate.name


def test_only_what_is_inspected_takes_defects(encoder):
    wide = Picture("wide", np.hstack([plate(0), plate(1)[:, :6]]))
    detector = Detector.enroll(encoder, [wide], recipe="patchead")
    area = inspected_pixels(encoder, detector.references[0])
    assert area.shape == (120, 126)
    assert area[:, :119].all()
    assert not area[:, 122:].any()


def test_defects_are_drawn_on_large_pictures_made_smaller(encoder):
    large = [
        Picture(f"large-{number}", np.kron(plate(number), np.ones((10, 10, 1), np.uint8)))
        for number in (0, 1)
    ]
    base = BASE_RECIPE.with_(rotations_deg=(0.0,), mask="off")
    choice = choose_recipe(encoder, large, base, fixed=["rotations_deg", "mask", "neighbours"])
    assert choice.pictures == 2


def test_an_area_that_a_person_drew_stays(encoder):
    drawn = BASE_RECIPE.with_(mask="on", mask_from="area", mask_polygon=[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]])
    assert all("mask" not in candidate.changes for candidate in candidates_for(encoder, drawn))


def test_the_truth_is_of_what_was_seen(tmp_path):
    """Of a frame that is cropped, the grid lies over less than the frame."""
    with RememberingEncoder.load(write_tiny_encoder(tmp_path / "tiny")) as encoder:
        wide = [
            Picture(f"wide-{number}", np.pad(plate(number), ((0, 0), (0, 8), (0, 0)), mode="edge"))
            for number in range(2)
        ]
        height, width = wide[0].frame.shape[:2]
        seen = encoder.preprocessor.plan((height, width)).inspected_hw((height, width))
        assert seen[1] < width
        detector = Detector.enroll(encoder, wide, recipe=BASE_RECIPE)
        defects = draw_defects(detector, wide)
        looks = look(encoder, wide, BASE_RECIPE, defects)
        assert len(looks.inspected_hw) == len(looks.defective)
        assert set(looks.inspected_hw) == {seen}
        assert try_candidate(BASE, BASE_RECIPE, looks, defects).patch_ap > 0
