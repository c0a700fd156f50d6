"""Nearest-neighbour search over L2-normalized patch features: exact, and faster ways that miss some."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from edgead_runtime.errors import IndexUnavailableError
from edgead_runtime.index.exact import ExactIndex, nearest_distances
from edgead_runtime.index.growing import GrowingIndex
from edgead_runtime.index.in_engine import EngineSearch
from edgead_runtime.index.protocol import Build, IndexSpec, Matrix, SearchIndex

__all__ = [
    "AUTO",
    "EXACT",
    "INDEXES",
    "IN_ENGINE",
    "EngineSearch",
    "ExactIndex",
    "GrowingIndex",
    "IndexSpec",
    "SearchIndex",
    "check_index",
    "create_index",
    "installed_indexes",
    "nearest_distances",
]

AUTO = "auto"
EXACT = "exact"
IN_ENGINE = "engine"
"""Exact as well, in the encoder's own engine: see :mod:`edgead_runtime.index.in_engine`."""

INDEXES: dict[str, IndexSpec] = {
    spec.name: spec
    for spec in (
        IndexSpec(
            name="clusters",
            module="edgead_runtime.index.clusters",
            requires=None,
            install="",
            summary="the bank in clusters, of which each patch searches the nearest few",
        ),
        IndexSpec(
            name="hnsw",
            module="edgead_runtime.index.hnsw",
            requires="hnswlib",
            install='pip install "edgead-runtime[hnsw]" (hnswlib is compiled on installation)',
            summary="a navigable small-world graph (hnswlib)",
        ),
    )
}
"""The approximate ones; :data:`EXACT` needs no index."""


def check_index(name: str) -> None:
    """Refuse an index that cannot be used here.

    Raises:
        IndexUnavailableError: The name is unknown, or its package is not installed.
    """
    if name in (AUTO, EXACT, IN_ENGINE):
        return
    if name not in INDEXES:
        raise IndexUnavailableError(
            f"unknown index '{name}'", f"Choose {AUTO}, {EXACT}, {IN_ENGINE} or one of: {', '.join(INDEXES)}."
        )
    spec = INDEXES[name]
    if not _is_installed(spec):
        raise IndexUnavailableError(
            f"index '{name}' needs {spec.requires}, which is not installed", f"Install it: {spec.install}."
        )


def installed_indexes() -> tuple[str, ...]:
    """Names of the approximate indexes that can be used here."""
    return tuple(name for name, spec in INDEXES.items() if _is_installed(spec))


def create_index(
    name: str, banks: Sequence[Matrix], threads: int | None = None, *, keep: bool = False
) -> SearchIndex:
    """An index over banks ``[M_i, D]``, searched as if stacked.

    Args:
        name: :data:`EXACT` or of :data:`INDEXES`.
        banks: L2-normalized rows; at least one.
        threads: Threads of a package that has its own; ``None`` leaves the choice to it.
        keep: Keep what takes long to build in the cache folder, and take it from there.

    Raises:
        IndexUnavailableError: See :func:`check_index`.
    """
    check_index(name)
    if name == EXACT:
        return ExactIndex(tuple(banks))
    module = import_module(INDEXES[name].module)
    first: Build = getattr(module, "build_once", module.build) if keep else module.build
    return GrowingIndex(first(banks, threads), tuple(banks), (), module.build, threads)


def _is_installed(spec: IndexSpec) -> bool:
    return spec.requires is None or find_spec(spec.requires) is not None
