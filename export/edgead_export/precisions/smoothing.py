"""Smoothing outliers before quantizing.

A channel that is large in the activations is made smaller there and larger in the weights, which changes
nothing in the product. Xiao et al., SmoothQuant (arXiv:2211.10438), equation 4:
``s = max|X| ** a / max|W| ** (1 - a)`` a channel. The division goes into what makes the activations, so that
the graph has no node more: into a LayerNormalization's scale and bias, and through attention into the
projection of the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto

from edgead_export.precisions.linears import Constants, Linear, consumers, find_linears, producers
from edgead_export.precisions.statistics import Activations, Floats

DEFAULT_STRENGTH = 0.5
_LEAST = 1e-5
_THROUGH_HEADS = ("Reshape", "Transpose")


def smooth(
    model: onnx.ModelProto, activations: Mapping[str, Activations], strength: float = DEFAULT_STRENGTH
) -> dict[str, Activations]:
    """Smooth what can be smoothed for nothing, in place.

    Args:
        model: The fp32 graph, changed in place; it computes the same afterwards.
        activations: Of the linear layers' sources.
        strength: The paper's alpha: how much of the difficulty goes into the weights, 0 to 1.

    Returns:
        The activations as they are afterwards.
    """
    constants = Constants(model)
    made_by, users = producers(model), consumers(model)
    by_source: dict[str, list[Linear]] = {}
    for linear in find_linears(model):
        by_source.setdefault(linear.source, []).append(linear)
    after = dict(activations)
    for source, linears in by_source.items():
        if len(linears) != len(users[source]):
            continue  # somebody else reads it as it is
        before = channels_of(source, linears, made_by, users, constants)
        if not before:
            continue
        factors = _factors(
            activations[source], [constants.read(linear.weight) for linear in linears], strength
        )
        for name in before:
            constants.write(name, constants.read(name) / factors)
        for name in dict.fromkeys(linear.weight for linear in linears):
            constants.write(name, constants.read(name) * factors[:, None])
        after[source] = Activations(activations[source].low / factors, activations[source].high / factors)
    return after


def _factors(activations: Activations, weights: Sequence[Floats], strength: float) -> Floats:
    of_weights = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    largest = np.maximum(activations.magnitude, _LEAST) ** strength
    factors: Floats = largest / np.maximum(of_weights, _LEAST) ** (1 - strength)
    return np.maximum(factors, _LEAST).astype(np.float32)


def channels_of(
    source: str,
    linears: Sequence[Linear],
    made_by: Mapping[str, NodeProto],
    users: Mapping[str, list[NodeProto]],
    constants: Constants,
) -> list[str]:
    """A scale or weight and the bias whose last axis is the channels of ``source``. Empty: there are none.

    Dividing both divides it. What is subtracted from the bias alone is subtracted from it: also where that is
    the values' in front of attention, which mixes tokens with shares that sum up to one.
    """
    node = made_by.get(source)
    if node is not None and node.op_type == "LayerNormalization":
        # Shared ones (a final LayerNorm) would change their other user as well.
        own = [name for name in node.input[1:3] if name]
        return own if all(len(users[name]) == 1 for name in own) and len(own) == 2 else []
    width = constants.shape(linears[0].weight)[0]
    return _value_projection(node, width, made_by, users, constants)


def _value_projection(
    node: NodeProto | None,
    width: int,
    made_by: Mapping[str, NodeProto],
    users: Mapping[str, list[NodeProto]],
    constants: Constants,
) -> list[str]:
    """Weights and bias of the projection of the values, which attention mixes over tokens.

    Their channels are those of the output projection: splitting into heads and joining keeps the order.
    """
    while node is not None and node.op_type in _THROUGH_HEADS:
        node = made_by.get(node.input[0])
    if node is None or node.op_type != "MatMul" or node.input[1] in constants:
        return []
    values = made_by.get(node.input[1])
    while values is not None and values.op_type in _THROUGH_HEADS:
        if len(users[values.output[0]]) != 1:
            return []
        values = made_by.get(values.input[0])
    if values is None or values.op_type != "Add" or len(users[values.output[0]]) != 1:
        return []
    bias = next((name for name in values.input if constants.is_float(name)), None)
    product = next((made_by[name] for name in values.input if name in made_by), None)
    if bias is None or product is None or product.op_type != "MatMul":
        return []
    weight = product.input[1]
    if not constants.is_float(weight) or constants.shape(weight)[-1] != width:
        return []
    found = [weight, bias]
    return found if all(len(users[name]) == 1 for name in found) else []
