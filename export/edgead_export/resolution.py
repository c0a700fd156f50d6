"""What ``--res`` means: one side or height x width, in whole patches."""

from __future__ import annotations

import re
from typing import NamedTuple

from edgead_export.errors import ResolutionError

_SIDES = re.compile(r"\s*(\d{1,7})\s*(?:[x×*]\s*(\d{1,7})\s*)?", re.IGNORECASE)
MIN_PATCHES_PER_SIDE = 2
MAX_PATCHES = 10_000


class Resolution(NamedTuple):
    """The encoder's input in pixels, and a sentence where it is not what was asked for."""

    height: int
    width: int
    message: str | None


def parse_resolution(text: str, patch_size: int) -> Resolution:
    """Read ``448`` or ``448x588`` (height x width) and round each side to whole patches.

    Raises:
        ResolutionError: It cannot be read, or makes under two patches a side or over 10,000 in all.
    """
    match = _SIDES.fullmatch(text)
    if match is None:
        raise ResolutionError(
            f"resolution '{text}' cannot be read",
            "Give one side (448) or height x width (448x588), in pixels.",
        )
    asked = int(match[1]), int(match[2] or match[1])
    # Half a patch rounds up: 49 px at patch 14 is 4 patches, not the 3 of bankers' rounding.
    rows, columns = ((side + patch_size // 2) // patch_size for side in asked)
    if min(asked) < MIN_PATCHES_PER_SIDE * patch_size:
        raise ResolutionError(
            f"resolution {text.strip()} has under {MIN_PATCHES_PER_SIDE} patches of {patch_size} px a side",
            f"Give at least {MIN_PATCHES_PER_SIDE * patch_size} px.",
        )
    if rows * columns > MAX_PATCHES:
        raise ResolutionError(
            f"resolution {text.strip()} makes {rows * columns:,} patches; attention needs memory for the "
            f"square of that, {4 * (rows * columns) ** 2 / 2**30:,.1f} GiB a head",
            f"Stay at or below {MAX_PATCHES:,} patches, e.g. {100 * patch_size} px square.",
        )
    height, width = rows * patch_size, columns * patch_size
    if (height, width) == asked:
        return Resolution(height, width, None)
    return Resolution(
        height,
        width,
        f"resolution {asked[0]}x{asked[1]} rounded to {height}x{width}: whole patches of {patch_size} px",
    )
