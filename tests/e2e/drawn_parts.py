"""Parts that are drawn instead of photographed, and a look into folders."""

from pathlib import Path

import numpy as np

SIDE = 120


def draw_part(number, *, defect=False):
    """A grey plate with a dark slot and some grain, ``[H, W]`` uint8; a defect is a bright scratch."""
    random = np.random.default_rng(number)
    plate = 150 + random.normal(0, 3, (SIDE, SIDE))
    plate[50:70, 20:100] = 60
    if defect:
        plate[85:95, 30:90] = 250
    return plate.clip(0, 255).astype(np.uint8)


def contents(folder: Path):
    """Every path under a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
