"""An fp8 file for GPUs that have it: linear layers between QuantizeLinear and DequantizeLinear to E4M3.

E4M3 (Micikevicius et al., FP8 Formats for Deep Learning, arXiv:2209.05433) has 4 bits of exponent, 3 of
mantissa and numbers up to 448. What it costs is a relative error of up to 1/16 of every number, large or
small: it does not depend on the scale as long as numbers stay between 1/64 and 448. So one scale for a tensor
is enough, weights included, with room above for other pictures, and smoothing, which int8 needs, changes
nothing; what does is :mod:`edgead_export.precisions.centering`. Scales are powers of two, so that they are
exact in float16 and multiplying with them rounds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray

from edgead_export.precisions.quantizing import Scale, insert_pairs
from edgead_export.precisions.statistics import Activations

LARGEST = 448.0
ROOM = 2.0
"""How many times what was seen an activation may come to. It costs one of the fifteen powers of two that
numbers have all of their mantissa in."""
_LEAST_SCALE = 2.0**-14
"""float16's smallest number with all of its mantissa."""


def quantize_linears_to_fp8(
    model: onnx.ModelProto, activations: Mapping[str, Activations], *, keep: Collection[str] = ()
) -> onnx.ModelProto:
    """The graph with its linear layers in fp8.

    QuantizeLinear knows E4M3 from opset 19, which whoever finishes the graph has to declare.

    Args:
        model: The fp32 graph; not changed.
        activations: Ranges of the linear layers' sources.
        keep: Names of layers that stay as they are.
    """
    return insert_pairs(model, activations, _Fp8(), keep)


def fp8_scale(largest: float) -> float:
    """The smallest power of two for which ``largest`` comes to at most 448."""
    if not 0 < largest < math.inf:
        return _LEAST_SCALE
    return max(math.ldexp(1.0, math.ceil(math.log2(largest / LARGEST))), _LEAST_SCALE)


class _Fp8:
    name = "fp8"

    def of_activations(self, found: Activations) -> Scale:
        return _scale(ROOM * float(found.magnitude.max()))

    def of_weight(self, weight: NDArray[np.float32]) -> tuple[NDArray[Any], Scale]:
        scale = _scale(float(np.abs(weight).max()))
        return (weight / scale.scale).astype(ml_dtypes.float8_e4m3fn), scale


def _scale(largest: float) -> Scale:
    return Scale(np.array(fp8_scale(largest), np.float32), np.zeros((), ml_dtypes.float8_e4m3fn))
