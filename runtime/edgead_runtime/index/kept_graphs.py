"""Graphs that took long to build, kept in the cache folder: a detector then starts at once the next time."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from edgead_runtime.cache import cache_dir, trim
from edgead_runtime.errors import OutputError
from edgead_runtime.files import atomic_file, write_atomic
from edgead_runtime.index.protocol import Matrix

_SUFFIX, _PROOF = ".graph", ".size"

_Graph = TypeVar("_Graph")


def kept_or_made(
    banks: Sequence[Matrix],
    facts: str,
    read: Callable[[str], _Graph],
    make: Callable[[], _Graph],
    write: Callable[[_Graph, str], None],
) -> _Graph:
    """The graph of these rows, from the cache folder where it is there and whole.

    Only what this user wrote there is read: a graph's file is not safe to take from elsewhere, so it is no
    part of a detector's file. A cache that cannot be written to means that the graph is made every time.

    Args:
        banks: Rows that it is of.
        facts: Whatever else it depends on: versions, parameters.
        read: Reads a file; raises RuntimeError for a damaged one.
        make: Makes the graph.
        write: Writes it to a file.
    """
    path = cache_dir() / "graphs" / f"{_digest(banks, facts)}{_SUFFIX}"
    size = path.with_suffix(_PROOF)
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        if path.stat().st_size == int(size.read_text(encoding="ascii")):
            graph = read(str(path))
            os.utime(path)
            return graph
    graph = make()
    with contextlib.suppress(OSError, OutputError, RuntimeError):
        _keep(path, size, lambda name: write(graph, name))
    return graph


def _keep(path: Path, size: Path, write: Callable[[str], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The size says whether it is whole: it is written last, and a graph without it is made again.
    size.unlink(missing_ok=True)
    with atomic_file(path) as temporary:
        write(str(temporary))
        written = temporary.stat().st_size
    write_atomic(size, str(written).encode("ascii"))
    trim(path.parent, _SUFFIX, _PROOF)


def _digest(banks: Sequence[Matrix], facts: str) -> str:
    digest = hashlib.blake2b(facts.encode(), digest_size=20)
    for bank in banks:
        digest.update(str(bank.shape).encode())
        digest.update(bank.data if bank.flags.c_contiguous else bank.tobytes())
    return digest.hexdigest()
