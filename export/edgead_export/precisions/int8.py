"""An int8 file: linear layers between QuantizeLinear and DequantizeLinear, everything else as it was.

Weights are signed with a scale for each output channel, activations have one scale a tensor. For processors
they are unsigned with a zero point (signed by signed is many times slower in ONNX Runtime on x86); TensorRT
takes signed ones around 0 and nothing else. Biases, LayerNormalization, Softmax,
GELU and the products of attention stay in float32, and no output of a linear layer is quantized: that was
seen to break the features while the AUROC on a few pictures still looked fine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from edgead_export.precisions.linears import Constants, drop_unused_constants, find_linears
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
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = Constants(made)
    chosen = {id(linear.node): linear for linear in find_linears(made) if linear.name not in keep}
    nodes: list[NodeProto] = []
    quantized: dict[str, str] = {}
    for node in made.graph.node:
        linear = chosen.get(id(node))
        if linear is not None:
            if linear.source not in quantized:
                quantized[linear.source] = _quantized_source(
                    nodes, constants, linear.source, activations[linear.source], symmetric=symmetric
                )
            weight = _quantized_weight(nodes, constants, linear.weight)
            node.input[0], node.input[1] = quantized[linear.source], weight
        nodes.append(node)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(copies)
    drop_unused_constants(made)
    return made


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


def _quantized_source(
    nodes: list[NodeProto], constants: Constants, source: str, found: Activations, *, symmetric: bool
) -> str:
    scale, zero = activation_scale(found, symmetric=symmetric)
    names = [
        constants.write(f"{source}/int8_scale", np.array(scale)),
        constants.write(f"{source}/int8_zero", np.array(zero)),
    ]
    return _pair(nodes, source, names)


def _pair(nodes: list[NodeProto], source: str, parameters: list[str]) -> str:
    levels, back = f"{source}/int8", f"{source}/int8_back"
    nodes.append(
        helper.make_node("QuantizeLinear", [source, *parameters], [levels], name=f"{source}/QuantizeLinear")
    )
    nodes.append(
        helper.make_node("DequantizeLinear", [levels, *parameters], [back], name=f"{source}/DequantizeLinear")
    )
    return back


def _quantized_weight(nodes: list[NodeProto], constants: Constants, name: str) -> str:
    back = f"{name}/int8_back"
    weight = constants.read(name)
    scales = weight_scales(weight)
    levels = np.clip(np.rint(weight / scales), -_LARGEST, _LARGEST).astype(np.int8)
    parameters = [
        constants.write(f"{name}/int8", levels),
        constants.write(f"{name}/int8_scale", scales),
        constants.write(f"{name}/int8_zero", np.zeros(len(scales), np.int8)),
    ]
    nodes.append(
        helper.make_node("DequantizeLinear", parameters, [back], name=f"{name}/DequantizeLinear", axis=1)
    )
    return back
