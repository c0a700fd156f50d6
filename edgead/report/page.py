"""What all pages have in common: where templates are, and that everything in them is escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """Templates of this package; names are escaped, and one that is missing is an error."""
    return Environment(
        loader=PackageLoader("edgead.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
