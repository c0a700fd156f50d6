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
