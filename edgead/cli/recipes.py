"""``edgead recipes``."""

from __future__ import annotations

from typing import Annotated

import typer


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show this one as a TOML file to start your own from."),
    ] = None,
) -> None:
    """List the recipes: the methods that `--recipe` knows; or write one out with all its settings."""
    from edgead_runtime import RECIPES, find_recipe

    from edgead.recipe_text import recipe_as_toml

    if name is not None:
        typer.echo(recipe_as_toml(find_recipe(name)), nl=False)
        return
    for recipe in RECIPES.values():
        typer.echo(f"{recipe.name}\n    {recipe.summary}\n    Source: {recipe.source}")
    typer.echo(
        "\n`edgead recipes NAME > mine.toml` writes one out; change it and give it as --recipe mine.toml."
    )
