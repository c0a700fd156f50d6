"""Where edgead keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """``$EDGEAD_CACHE``, else the platform's cache folder. Not created here."""
    override = os.environ.get("EDGEAD_CACHE")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_cache_dir  # nothing else here needs it

    return Path(user_cache_dir("edgead", appauthor=False))
