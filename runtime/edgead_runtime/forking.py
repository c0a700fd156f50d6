"""What a forked process has to make anew: threads do not come along, and nobody gives back their locks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

_Renew = TypeVar("_Renew", bound=Callable[[], None])


def in_forked_processes(renew: _Renew) -> _Renew:
    """Decorator: called in every process that is forked from this one, before anything else runs there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
    return renew
