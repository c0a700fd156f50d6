"""Packages for approximate search that were measured and are not shipped, as indexes like the runtime's."""

from importlib.util import find_spec

from edgead_runtime.index import INDEXES, IndexSpec


def register() -> tuple[str, ...]:
    """Add those whose package is installed to the runtime's table, for this process; their names."""
    names = []
    for name, package in (("faiss-ivf", "faiss"), ("usearch", "usearch")):
        if find_spec(package) is not None:
            module = f"benchmarks.other_indexes.with_{package}"
            INDEXES[name] = IndexSpec(
                name, module, package, f"pip install {package}", "measured, not shipped"
            )
            names.append(name)
    return tuple(names)
