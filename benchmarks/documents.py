"""Measured text in a page: what a command wrote lies between two comments, and a person wrote the rest."""

from __future__ import annotations

import re


def fill(page: str, name: str, text: str) -> str:
    """The page with what lies between the comments of ``name`` replaced.

    Args:
        page: Markdown with ``<!-- measured: NAME -->`` and ``<!-- end of NAME -->``.
        name: Which part.
        text: Goes between the two.

    Raises:
        ValueError: The page has no such part, or has it twice.
    """
    pattern = re.compile(
        rf"(<!-- measured: {re.escape(name)} -->\n).*?(\n<!-- end of {re.escape(name)} -->)", re.DOTALL
    )
    filled, count = pattern.subn(lambda found: f"{found[1]}{text}{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has {count} places for '{name}'")
    return filled
