"""What tells whether files, and recipes that name files, are still the same without reading them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgead_runtime import Recipe


def file_state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; of a file that is not there, zeros."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def recipe_state(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data, with the state of the picture that it takes an area from."""
    fields = asdict(recipe)
    if recipe.mask_image:
        fields["mask_image"] = [recipe.mask_image, *file_state(Path(recipe.mask_image))]
    return fields


def what_differs(before: str, now: str) -> str:
    """Which settings are not the same, in a few words; both as JSON text."""
    try:
        old, new = json.loads(before), json.loads(now)
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return "its settings cannot be read"
    plain = [
        f"{name} was {old[name]}, is {new[name]}"
        for name in names
        if isinstance(old.get(name), str | int) and isinstance(new.get(name), str | int)
    ]
    return "; ".join(plain[:2]) or ", ".join(names[:5])
