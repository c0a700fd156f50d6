"""Patches in fewer bytes: how the bank lies in a detector's file.

A patch has length 1, so its direction is all there is to keep: whole numbers from -127 to 127 in proportion
to it need no scale beside them. In fp16 the length is off by some hundred-thousandths, and stays so: made 1
again, it would be rounded otherwise the next time.

What is kept is rounded when a picture is enrolled and not when the file is written, so that thresholds come
from the very patches that the file will give.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.recipe import KeepAs

DTYPES: dict[KeepAs, type[np.generic]] = {
    "fp32": np.float32,
    "fp16": np.float16,
    "int8": np.int8,
}
_LARGEST = 127


def pack(tokens: NDArray[np.float32], precision: KeepAs) -> NDArray[Any]:
    """Rows ``[M, D]`` as they are stored.

    Args:
        tokens: L2-normalized; a zero row stays zero.
        precision: ``fp16`` halves the size, ``int8`` quarters it.
    """
    if precision == "int8":
        largest = np.maximum(np.abs(tokens).max(axis=1, keepdims=True, initial=0), np.float32(1e-12))
        return np.asarray(np.round(tokens * (_LARGEST / largest)), dtype=np.int8)
    return tokens.astype(DTYPES[precision])


def unpack(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Stored rows as L2-normalized float32 ``[M, D]``; of float32 the rows themselves."""
    rows = np.asarray(stored, dtype=np.float32)
    if stored.dtype != np.int8:
        return rows
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = rows / np.maximum(lengths, np.float32(1e-12))
    return unit


def rounded(tokens: NDArray[np.float32], precision: KeepAs) -> NDArray[np.float32]:
    """Rows as they will be when they were stored and read again. Rounding again changes nothing."""
    return tokens if precision == "fp32" else unpack(pack(tokens, precision))
