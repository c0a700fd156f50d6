"""A recipe written out is the recipe, with every field explained."""

from dataclasses import fields

import pytest
from edgead_runtime import RECIPES, Recipe, find_recipe

from edgead.recipe_text import _explanations, recipe_as_toml


@pytest.mark.parametrize("name", RECIPES)
def test_it_can_be_read_back(tmp_path, name):
    path = tmp_path / "mine.toml"
    path.write_text(recipe_as_toml(RECIPES[name]), encoding="utf-8")
    assert find_recipe(str(path)) == RECIPES[name]


def test_every_choice_is_explained():
    explained = _explanations()
    for field in fields(Recipe):
        if field.name not in {"name", "summary"}:
            assert len(explained[field.name]) > 10, field.name
    assert "`" not in "".join(explained.values())


def test_whatever_a_name_holds(tmp_path):
    odd = RECIPES["patchead"].with_(name='a"b\\c\x7f\tü\n', summary="部品 \u0001")
    path = tmp_path / "mine.toml"
    path.write_text(recipe_as_toml(odd), encoding="utf-8")
    assert find_recipe(str(path)) == odd


def test_a_picture_of_an_area_is_found_again_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.toml").write_text(
        'base = "patchead"\nmask = "on"\nmask_from = "area"\nmask_image = "area.png"\n'
    )
    monkeypatch.chdir(tmp_path)
    recipe = find_recipe("sub/mine.toml")
    assert recipe.mask_image == str((tmp_path / "sub" / "area.png").resolve())
    (tmp_path / "sub" / "other.toml").write_text(recipe_as_toml(recipe), encoding="utf-8")
    assert find_recipe("sub/other.toml") == recipe
