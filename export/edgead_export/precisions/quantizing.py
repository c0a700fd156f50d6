"""Putting linear layers between QuantizeLinear and DequantizeLinear, whatever the levels are.

No output of a linear layer is quantized, nor what attention multiplies: that was seen to break the features
while the AUROC on a few pictures still looked fine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from edgead_export.precisions.linears import Constants, drop_unused_constants, find_linears
from edgead_export.precisions.statistics import Activations


class Scale(NamedTuple):
    """What a level is times, and the level that is zero: one for a tensor, or one for each channel."""

    scale: NDArray[np.float32]
    zero: NDArray[Any]


class Levels(Protocol):
    """The numbers in eight bits that a tensor is rounded to."""

    @property
    def name(self) -> str:
        """Of the precision, as part of the names of tensors."""

    def of_activations(self, found: Activations) -> Scale:
        """One scale that holds what was seen."""

    def of_weight(self, weight: NDArray[np.float32]) -> tuple[NDArray[Any], Scale]:
        """The levels ``[K, N]`` of weights ``[K, N]``, with one scale or one for each of N channels."""


def insert_pairs(
    model: onnx.ModelProto, activations: Mapping[str, Activations], levels: Levels, keep: Collection[str] = ()
) -> onnx.ModelProto:
    """The graph with its linear layers quantized.

    Args:
        model: The fp32 graph; not changed.
        activations: Ranges of the linear layers' sources.
        levels: What is rounded to.
        keep: Names of layers that stay as they are.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    pairs = _Pairs(Constants(made), levels)
    chosen = {id(linear.node): linear for linear in find_linears(made) if linear.name not in keep}
    for node in made.graph.node:
        linear = chosen.get(id(node))
        if linear is not None:
            source = pairs.of_source(linear.source, activations[linear.source])
            node.input[0], node.input[1] = source, pairs.of_weight(linear.weight)
        pairs.nodes.append(node)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in pairs.nodes]
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(copies)
    drop_unused_constants(made)
    return made


class _Pairs:
    """One walk over the graph; each tensor is quantized once, whoever reads it."""

    def __init__(self, constants: Constants, levels: Levels) -> None:
        self.nodes: list[NodeProto] = []
        self._constants, self._levels = constants, levels
        self._sources: dict[str, str] = {}

    def of_source(self, source: str, found: Activations) -> str:
        """Both nodes for activations; the name of what comes out."""
        if source not in self._sources:
            name = f"{source}/{self._levels.name}"
            parameters = self._parameters(name, self._levels.of_activations(found))
            self._sources[source] = back = f"{name}_back"
            self._add("QuantizeLinear", source, [source, *parameters], name)
            self._add("DequantizeLinear", source, [name, *parameters], back)
        return self._sources[source]

    def of_weight(self, weight: str) -> str:
        """The second node alone: the levels are constants."""
        name = f"{weight}/{self._levels.name}"
        values, scale = self._levels.of_weight(self._constants.read(weight))
        parameters = [self._constants.write(name, values), *self._parameters(name, scale)]
        by_channel: dict[str, Any] = {"axis": 1} if scale.scale.ndim else {}
        self._add("DequantizeLinear", weight, parameters, f"{name}_back", **by_channel)
        return f"{name}_back"

    def _parameters(self, name: str, scale: Scale) -> list[str]:
        return [
            self._constants.write(f"{name}_scale", scale.scale),
            self._constants.write(f"{name}_zero", scale.zero),
        ]

    def _add(self, operator: str, of: str, inputs: list[str], output: str, **attributes: Any) -> None:
        name = f"{of}/{operator}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
