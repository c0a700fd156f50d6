"""An int8 file: linear layers between QuantizeLinear and DequantizeLinear, everything else as it was.

Weights are signed with a scale for each output channel, activations have one scale a tensor. For processors
they are unsigned with a zero point (signed by signed is many times slower in ONNX Runtime on x86); TensorRT
takes signed ones around 0 and nothing else. Biases, LayerNormalization, Softmax, GELU and the products of
attention stay in float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgead_export.precisions.quantizing import Scale, insert_pairs
from edgead_export.precisions.statistics import Activations

_LEVELS, _LARGEST = 255, 127
_LEAST_SCALE = 1e-9


def quantize_linears(
    model: onnx.ModelProto,
    activations: Mapping[str, Activations],
    *,
    keep: Collection[str] = (),
    symmetric: bool = False,
) -> onnx.ModelProto:
    """The graph with its linear layers in int8.

    Args:
        model: The fp32 graph, smoothed or not; not changed.
        activations: Ranges of the linear layers' sources.
        keep: Names of layers that stay in fp32.
        symmetric: Activations as TensorRT takes them: int8 with zero point 0.
    """
    return insert_pairs(model, activations, _Int8(symmetric), keep)


def weight_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each output channel ``[N]`` for weights ``[K, N]``: its largest absolute value becomes 127."""
    scales: NDArray[np.float32] = np.maximum(np.abs(weight).max(axis=0) / _LARGEST, _LEAST_SCALE)
    return scales.astype(np.float32)


def activation_scale(found: Activations, *, symmetric: bool = False) -> tuple[np.float32, np.uint8 | np.int8]:
    """Scale and zero point that hold the range and zero."""
    if symmetric:
        return np.float32(max(float(found.magnitude.max()) / _LARGEST, _LEAST_SCALE)), np.int8(0)
    low, high = min(float(found.low.min()), 0.0), max(float(found.high.max()), 0.0)
    scale = max((high - low) / _LEVELS, _LEAST_SCALE)
    return np.float32(scale), np.uint8(np.clip(round(-low / scale), 0, _LEVELS))


@dataclass(frozen=True)
class _Int8:
    symmetric: bool
    name: str = "int8"

    def of_activations(self, found: Activations) -> Scale:
        scale, zero = activation_scale(found, symmetric=self.symmetric)
        return Scale(np.array(scale), np.array(zero))

    def of_weight(self, weight: NDArray[np.float32]) -> tuple[NDArray[Any], Scale]:
        scales = weight_scales(weight)
        levels = np.clip(np.rint(weight / scales), -_LARGEST, _LARGEST).astype(np.int8)
        return levels, Scale(scales, np.zeros(len(scales), np.int8))
