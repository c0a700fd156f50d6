"""Taking the mean of each channel out of what is quantized to a floating-point type.

Such a type rounds a number by a share of its size. What a channel has in every token is then rounded too, and
that in steps of the channel's mean instead of its spread. A linear layer gives the same for ``x - mean`` with
``mean W`` added to its bias (channel-wise shifting: Wei et al., Outlier Suppression+, arXiv:2304.09145). The
subtraction goes into the bias of what makes the activations, where it has one of its own; after a GELU it is
one node more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper

from edgead_export.precisions.linears import Constants, Linear, consumers, find_linears, producers
from edgead_export.precisions.smoothing import channels_of
from edgead_export.precisions.statistics import Floats


def center(model: onnx.ModelProto, mean: Mapping[str, Floats]) -> None:
    """Take out means where that can be made up for, in place.

    Args:
        model: The fp32 graph, changed in place; it computes the same afterwards.
        mean: Of the linear layers' sources, ``[K]``.
    """
    constants = Constants(model)
    made_by, users = producers(model), consumers(model)
    by_source: dict[str, list[Linear]] = {}
    for linear in find_linears(model):
        by_source.setdefault(linear.source, []).append(linear)
    subtractions: dict[str, NodeProto] = {}
    for source, linears in by_source.items():
        biases = [_bias_of(linear, users, constants) for linear in linears]
        if any(bias is None for bias in biases):
            continue
        own = (
            channels_of(source, linears, made_by, users, constants)
            if len(linears) == len(users[source])
            else []
        )
        if own:
            constants.write(own[-1], constants.read(own[-1]) - mean[source])
        else:
            centered = f"{source}/centered"
            taken = constants.write(f"{source}/mean", mean[source])
            subtractions[source] = helper.make_node(
                "Sub", [source, taken], [centered], name=f"{source}/Centering"
            )
            for linear in linears:
                linear.node.input[0] = centered
        for linear, bias in zip(linears, biases, strict=True):
            added = np.asarray(mean[source] @ constants.read(linear.weight), np.float32)
            constants.write(str(bias), constants.read(str(bias)) + added)
    _insert(model, subtractions)


def _bias_of(linear: Linear, users: Mapping[str, Sequence[NodeProto]], constants: Constants) -> str | None:
    """The constant that is added to a product and to nothing else."""
    readers = users[linear.node.output[0]]
    if len(readers) != 1 or readers[0].op_type != "Add":
        return None
    bias = next((name for name in readers[0].input if constants.is_float(name)), None)
    fits = bias is not None and constants.shape(bias) == constants.shape(linear.weight)[1:]
    return bias if fits and bias is not None and len(users[bias]) == 1 else None


def _insert(model: onnx.ModelProto, after: Mapping[str, NodeProto]) -> None:
    """Put nodes right behind those that make what they read."""
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += [node, *(after[name] for name in node.output if name in after)]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
