"""Versions of packages, as they were installed here."""

from __future__ import annotations

from importlib import metadata


def version_of(*packages: str) -> str:
    """The version of the first of these distributions that is installed; empty where none is.

    Empty also for one that was put there without a record of it.
    """
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return ""
