"""Which precisions there are. Without torch: what is mistyped is said before it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec
from edgead_runtime.manifest import Precision

from edgead_export.errors import PrecisionError

PRECISIONS = get_args(Precision)


def check_precisions(names: Sequence[str]) -> tuple[Precision, ...]:
    """The precisions of these names, fp32 first and each once.

    Raises:
        PrecisionError: There is no such precision.
    """
    for name in names:
        if name not in PRECISIONS:
            raise PrecisionError(f"unknown precision '{name}'", f"Choose from: {', '.join(PRECISIONS)}.")
    checked: tuple[Precision, ...] = msgspec.convert(
        tuple(dict.fromkeys(("fp32", *names))), tuple[Precision, ...]
    )
    return checked
