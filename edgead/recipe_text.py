"""A recipe as a TOML file that explains itself: what to start one's own from."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from dataclasses import fields

from edgead_runtime import Recipe

_WIDTH = 98
_ROLE = re.compile(r":\w+:`~?([^`]*)`")


def recipe_as_toml(recipe: Recipe) -> str:
    """All fields of a recipe with what they mean; ``find_recipe`` reads it back."""
    explained = _explanations()
    parts = []
    for field in fields(recipe):
        comment = textwrap.indent("\n".join(textwrap.wrap(explained[field.name], _WIDTH)), "# ")
        value = getattr(recipe, field.name)
        line = f"# {field.name} =" if value is None else f"{field.name} = {_toml(value)}"
        parts.append("\n".join(filter(None, [comment, line])))
    return "\n\n".join(parts) + "\n"


def _toml(value: object) -> str:
    # Of what recipes are made of, JSON's notation is TOML's as well, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _explanations() -> dict[str, str]:
    """The text below each field in the source: said once, and shown where it is needed."""
    module = ast.parse(textwrap.dedent(inspect.getsource(Recipe)))
    (definition,) = (node for node in module.body if isinstance(node, ast.ClassDef))
    texts = {field.name: "" for field in fields(Recipe)}
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            text = " ".join(str(below.value.value).split())
            texts[statement.target.id] = _ROLE.sub(r"\1", text).replace("``", "'")
    return texts
