"""Recipes: the presets are the paper's, and nothing wrong gets in."""

import dataclasses
import json

import pytest
from edgead_runtime.errors import RecipeError
from edgead_runtime.presets import RECIPES, find_recipe, get_recipe
from edgead_runtime.recipe import EIGHT_TURNS, Recipe, recipe_from_dict


def test_anomalydino_is_the_papers():
    recipe = get_recipe("anomalydino")
    assert recipe.rotations_deg == tuple(45.0 * turn for turn in range(8)) == EIGHT_TURNS
    assert recipe.top_fraction == 0.01
    assert recipe.smoothing_sigma_px == 4.0
    assert recipe.mask == "auto"
    assert recipe.layers == "deepest"
    assert get_recipe("anomalydino-informed").rotations_deg == (0.0,)


@pytest.mark.parametrize("name", RECIPES)
def test_every_preset_survives_json(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert recipe_from_dict(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(RecipeError, match="unknown recipe 'padim'") as caught:
        get_recipe("padim")
    assert "anomalydino-informed" in caught.value.remedy


def test_with_changes_one_thing():
    base = get_recipe("anomalydino")
    changed = base.with_(mask="off", layers=[9], rotations_deg=[0, 90])
    assert (changed.mask, changed.layers, changed.rotations_deg) == ("off", (9,), (0.0, 90.0))
    assert changed.with_(mask="auto", layers="deepest", rotations_deg=EIGHT_TURNS) == base
    with pytest.raises(dataclasses.FrozenInstanceError):
        base.mask = "on"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"rotations_deg": []}, "begin with 0"),
        ({"rotations_deg": [45.0, 0.0]}, "begin with 0"),
        ({"rotations_deg": [0.0, float("nan")]}, "rotation"),
        ({"top_fraction": 0.0}, "top_fraction"),
        ({"top_fraction": 1.5}, "top_fraction"),
        ({"top_fraction": float("nan")}, "top_fraction"),
        ({"smoothing_sigma_px": -1.0}, "smoothing_sigma_px"),
        ({"smoothing_sigma_px": float("inf")}, "smoothing_sigma_px"),
        ({"mask_threshold": float("nan")}, "mask_threshold"),
        ({"mask_threshold": float("inf")}, "mask_threshold"),
        ({"mask": "maybe"}, "mask"),
        ({"mask_morphology": "3d"}, "mask_morphology"),
        ({"layers": [2.5]}, "layers"),
        ({"layers": []}, "layers"),
        ({"layers": "first"}, "layers"),
        ({"batch_share": 0.0}, "batch_share"),
        ({"batch_share": 1.1}, "batch_share"),
        ({"batch_rule": "median"}, "batch_rule"),
        ({"top_fraction": "much"}, "top_fraction"),
        ({"rotation": [0]}, "no field rotation"),
    ],
)
def test_what_is_wrong_is_named(changes, names):
    with pytest.raises(RecipeError, match=names):
        get_recipe("anomalydino").with_(**changes)


def test_a_missing_field_is_named():
    with pytest.raises(RecipeError, match="summary"):
        recipe_from_dict({"name": "mine", "source": "me"})


def test_a_recipe_of_ones_own():
    recipe = Recipe(name="mine", summary="", source="", top_fraction=1.0, smoothing_sigma_px=0.0)
    assert recipe.top_fraction == 1.0


def test_a_recipe_from_a_file(tmp_path):
    path = tmp_path / "my-textures.toml"
    path.write_text(
        'base = "patchead"\ntop_fraction = 0.002\nrotations_deg = [0, 90]\nflips = ["vertical"]\n'
    )
    recipe = find_recipe(str(path))
    assert recipe == get_recipe("patchead").with_(
        name="my-textures",
        summary="patchead, changed by my-textures.toml",
        source="my-textures.toml",
        top_fraction=0.002,
        rotations_deg=(0.0, 90.0),
        flips=("vertical",),
    )
    assert find_recipe("patchead") is get_recipe("patchead")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("top_fraction =", "not TOML"),
        ("top_fraktion = 0.1", "top_fraktion"),
        ("top_fraction = 7", "top_fraction"),
        ('flips = ["diagonal"]', "flips"),
        ('base = "patchcore"', "patchcore"),
        ("neighbours = 0", "neighbours"),
        ("worst_share = 0.0", "worst_share"),
        ("background_weight = 1.5", "background_weight"),
        ("layer = 9", "no field layer"),
        ("rotations_deg = " + "[" * 3000, "not TOML"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, text, says):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=says):
        find_recipe(str(path))


def test_a_recipe_file_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError, match="cannot read"):
        find_recipe(str(tmp_path / "gone.toml"))


def test_a_file_whose_name_is_no_text(tmp_path):
    path = tmp_path / "mine\udce4.toml"
    path.write_text("neighbours = 2")
    assert find_recipe(str(path)).name == "mine?"
    with pytest.raises(RecipeError, match="UTF-8"):
        get_recipe("anomalydino").with_(name="mine\udce4")
