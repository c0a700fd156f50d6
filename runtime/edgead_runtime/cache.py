"""Where edgead keeps what it can make or fetch again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from edgead_runtime.files import remove_leftovers

MOST_BYTES = 4 << 30
"""Of one kind of file that was made here: a graph of 100,000 rows has 165 MB, an engine 50 to 700."""


def cache_dir() -> Path:
    """``$EDGEAD_CACHE``, else the platform's cache folder. Not created here."""
    override = os.environ.get("EDGEAD_CACHE")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_dir  # nothing else here needs it

    return Path(user_cache_dir("edgead", appauthor=False))


def trim(folder: Path, suffix: str, proof: str) -> None:
    """Keep a folder of the cache within :data:`MOST_BYTES`: what was used least lately goes first.

    The one that was used last stays whatever its size. What was left by processes that were killed goes too.

    Args:
        folder: In the cache.
        suffix: Of the files.
        proof: Of the small file beside each without which it does not count; it goes before its file does.
    """
    remove_leftovers(folder)
    files = []
    for path in folder.glob(f"*{suffix}"):
        with contextlib.suppress(OSError):  # another process has removed it
            facts = path.stat()
            files.append((facts.st_mtime_ns, facts.st_size, path))
    taken = 0
    for number, (_, size, path) in enumerate(sorted(files, reverse=True)):
        taken += size
        if number and taken > MOST_BYTES:
            with contextlib.suppress(OSError):
                path.with_suffix(proof).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
