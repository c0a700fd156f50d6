"""``edgead recipes``."""

from __future__ import annotations

import typer


def recipes() -> None:
    """List the recipes: the methods that `--recipe` knows."""
    from edgead_runtime import RECIPES

    for recipe in RECIPES.values():
        typer.echo(f"{recipe.name}\n    {recipe.summary}\n    Source: {recipe.source}")
