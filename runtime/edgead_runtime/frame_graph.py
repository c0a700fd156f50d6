"""The frame-to-heatmap graph seen from outside: what goes in and comes out, and in which shapes.

One ONNX file does a whole frame: normalize, encode, L2-normalize, search the bank, weigh, score, map. It is
written by ``edgead export --fuse``; with N = rows * columns patches of D features it has

==============  ==============================  ==============================================================
input           shape                           what
==============  ==============================  ==============================================================
frame           ``[1, height, width, 3]`` uint8 the resized and cropped frame, BGR
bank            ``[blocks, block_rows, D]``     L2-normalized rows in blocks, at least one of them
bank_bias       ``[blocks, 1]``                 0 for a block that counts, :data:`UNUSED` for another
patch_weights   ``[rows, columns]``             what the distances are multiplied by: the recipe's scale, and
                                                an area where one is drawn
map_down        ``[h, rows]``                   upsampling and smoothing along the frame's height
map_across      ``[w, columns]``                and along its width
==============  ==============================  ==============================================================

==============  ==============================  ==============================================================
output          shape                           what
==============  ==============================  ==============================================================
distances       ``[rows, columns]``             weighted distances of the patches
score           ``[1]``                         mean of the largest :data:`TOP_FRACTION` of them
map             ``[h, w]``                      ``map_down @ distances @ map_across.T``
lengths         ``[N]``                         of the features before they are normalized; not finite where
                                                they are not
==============  ==============================  ==============================================================

and the encoder's own outputs under their own names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME = "frame"
BANK = "bank"
BANK_BIAS = "bank_bias"
PATCH_WEIGHTS = "patch_weights"
MAP_DOWN = "map_down"
MAP_ACROSS = "map_across"

DISTANCES = "distances"
SCORE = "score"
MAP = "map"
LENGTHS = "lengths"

TOP_FRACTION = 0.01
"""Share of the patches that the graph's own score is made from; AnomalyDINO."""
UNUSED = -4.0
"""Below any similarity: what is added to those of a block that does not count."""
_MOST_BLOCK_ROWS = 1024


def block_rows_for(patches: int) -> int:
    """Rows of a block of the bank: those of a picture, or an equal part of them.

    A picture's views then fill whole blocks, so that next to no row is padding; and the similarities that
    are in memory at a time are at most ``patches * 1024`` however large the bank is.
    """
    return -(-patches // -(-patches // _MOST_BLOCK_ROWS))


def top_count(patches: int) -> int:
    """How many distances the graph's score is the mean of."""
    return max(int(TOP_FRACTION * patches), 1)


def fill_blocks(rows: NDArray[np.float32], block_rows: int) -> NDArray[np.float32]:
    """Rows ``[M, D]`` as blocks ``[blocks, block_rows, D]``, the last one filled up.

    It is filled with copies of the first row, which come no nearer to anything than that row does.
    """
    missing = -len(rows) % block_rows
    filled = np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows
    return filled.reshape(-1, block_rows, rows.shape[1])


def no_map(grid: tuple[int, int]) -> dict[str, NDArray[np.float32]]:
    """The map's inputs where none is wanted: a map of one pixel."""
    return {MAP_DOWN: np.zeros((1, grid[0]), np.float32), MAP_ACROSS: np.zeros((1, grid[1]), np.float32)}
