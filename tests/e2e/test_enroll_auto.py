"""``enroll --auto`` as a person uses it."""

import json

import pytest
from drawn_parts import contents
from edgead_runtime import Detector


def test_it_says_what_it_tried_and_took(edgead, encoder, good, tmp_path):
    out = tmp_path / "part.edgead"
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", out, "--auto", "--threads", 1)
    assert ran.code == 0, ran.err
    assert contents(tmp_path) == ["part.edgead", "part.enrolment.png"]
    assert "4 good pictures and 32 synthetic defects" in ran.out
    assert ran.out.count("<- chosen") == 1
    assert "no turns" in ran.out
    assert ran.out.index("<- chosen") < ran.out.index("Enrolled 4 good pictures")


def test_the_detector_has_the_recipe_that_was_chosen(edgead, encoder, good, tmp_path):
    out = tmp_path / "part.edgead"
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", out, "--auto", "--json")
    auto, recipe = ran.summary["auto"], ran.summary["recipe"]
    for field, value in auto["changes"].items():
        assert json.loads(json.dumps(value)) == recipe[field]
    assert recipe["name"] == ("anomalydino" if auto["chosen"] == "base" else "anomalydino-auto")
    assert auto["tried"][0]["name"] == "base"
    with Detector.load(out) as detector:
        assert detector.recipe.name == recipe["name"]


def test_without_it_nothing_is_tried(edgead, encoder, good, tmp_path):
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", "--json")
    assert ran.summary["auto"] is None


def test_what_an_option_sets_stays(edgead, encoder, good, tmp_path):
    options = ["--rotations", "--mask", "off", "--top-fraction", 0.02, "--auto", "--json"]
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", *options)
    assert [tried["name"] for tried in ran.summary["auto"]["tried"]] == ["base", "3 neighbours"]
    assert len(ran.summary["recipe"]["rotations_deg"]) == 8
    assert ran.summary["recipe"]["mask"] == "off"
    assert ran.summary["recipe"]["top_fraction"] == 0.02


@pytest.mark.parametrize("options", [["--shots", 1], ["--shots", 1, "--json"]])
def test_one_good_picture_is_too_few(edgead, encoder, good, tmp_path, options):
    out = tmp_path / "p.edgead"
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", out, "--auto", *options)
    ran.assert_refused("fewer than two", "do without --auto")
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [(["--false-alarm-rate", 0.001], "cannot support"), (["--threshold", "nan"], "makes no sense")],
)
def test_bad_options_are_refused_before_anything_is_tried(edgead, encoder, good, tmp_path, options, problem):
    out = tmp_path / "p.edgead"
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", out, "--auto", *options)
    ran.assert_refused(problem)
