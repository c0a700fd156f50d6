"""Position embeddings resized for one resolution, before tracing.

They are baked so that the graph holds one constant in place of a bicubic ``Resize`` that not every
engine can parse. How they are resized belongs to the weights, because that is what the blocks saw:

``offset``
    DINOv2 without registers: a scale factor with the authors' 0.1 offset, which shifts every sample
    point a little; no antialiasing.
``antialias``
    DINOv2 with registers: resized to the grid with antialiasing, no offset.
``size``
    Resized to the grid, neither offset nor antialiasing: CLIP in ``transformers``, and weights that
    were fine-tuned through ``transformers``.

Source: ``interpolate_pos_encoding`` in facebookresearch/dinov2 (dinov2/models/vision_transformer.py,
with the settings of dinov2/hub/backbones.py) and in ``transformers``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from edgead_export.backbones import PositionRule

_OFFSET = 0.1


def bake_positions(positions: Tensor, rule: PositionRule, grid: tuple[int, int]) -> Tensor:
    """Resize patch position embeddings to a grid.

    Args:
        positions: ``[M * M, D]`` of the patches alone (no CLS row), in raster order.
        rule: How the weights' owner resizes them.
        grid: Patches as (rows, columns).

    Returns:
        ``[rows * columns, D]``, float32.
    """
    side = math.isqrt(len(positions))
    if grid == (side, side):
        return positions.float()
    settings: dict[PositionRule, dict[str, Any]] = {
        "offset": {"scale_factor": tuple((count + _OFFSET) / side for count in grid)},
        "antialias": {"size": grid, "antialias": True},
        "size": {"size": grid},
    }
    square = positions.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(square, mode="bicubic", align_corners=False, **settings[rule])
    return resized.permute(0, 2, 3, 1).reshape(grid[0] * grid[1], -1)
