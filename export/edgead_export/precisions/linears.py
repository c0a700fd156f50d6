"""The linear layers of a traced encoder, as they are in its ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

_OWN_TYPES = {
    np.dtype(ml_dtypes.bfloat16): TensorProto.BFLOAT16,
    np.dtype(ml_dtypes.float8_e4m3fn): TensorProto.FLOAT8E4M3FN,
}


@dataclass(frozen=True, eq=False)
class Linear:
    """A product of tokens with constant weights. Products of attention have no constant and are none."""

    name: str
    """E.g. ``blocks.0.mlp.fc1``."""
    node: NodeProto
    source: str
    """The tensor of activations ``[..., K]``."""
    weight: str
    """The initializer ``[K, N]``."""


class Constants:
    """The initializers of a graph by name, to be read and replaced."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._by_name: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def read(self, name: str) -> NDArray[np.float32]:
        """A copy of the values."""
        return np.array(numpy_helper.to_array(self._by_name[name]))

    def shape(self, name: str) -> tuple[int, ...]:
        """Without reading the values."""
        return tuple(self._by_name[name].dims)

    def is_float(self, name: str) -> bool:
        """Whether it is a float32 constant."""
        return name in self and self._by_name[name].data_type == TensorProto.FLOAT

    def write(self, name: str, values: NDArray[np.generic]) -> str:
        """Replace a constant or add one; returns its name."""
        tensor = _tensor(np.asarray(values, order="C"), name)
        if name in self._by_name:
            self._by_name[name].CopyFrom(tensor)
        else:
            self._by_name[name] = self._graph.initializer.add()
            self._by_name[name].CopyFrom(tensor)
        return name


def _tensor(values: NDArray[np.generic], name: str) -> TensorProto:
    kind = _OWN_TYPES.get(values.dtype)
    if kind is None:
        return numpy_helper.from_array(values, name)
    # Not every release of onnx knows NumPy's extension types.
    return helper.make_tensor(name, kind, values.shape, values.tobytes(), raw=True)


def find_linears(model: onnx.ModelProto) -> list[Linear]:
    """All linear layers in the order of the graph.

    A graph whose products were turned into ``Gemm`` (some simplifiers do) has none, and quantizing it would
    change nothing: the file's size shows it.
    """
    constants = Constants(model)
    users = consumers(model)
    found = []
    for node in model.graph.node:
        if node.op_type != "MatMul" or not constants.is_float(node.input[1]):
            continue
        if len(constants.shape(node.input[1])) == 2:
            found.append(Linear(_name(node, users, constants), node, node.input[0], node.input[1]))
    return found


def consumers(model: onnx.ModelProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each tensor."""
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    return users


def producers(model: onnx.ModelProto) -> dict[str, NodeProto]:
    """The node that writes each tensor."""
    return {name: node for node in model.graph.node for name in node.output}


def drop_unused_constants(model: onnx.ModelProto) -> None:
    """Remove the initializers that no node reads, which would stay in the file."""
    used = {name for node in _nodes(model.graph) for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _nodes(graph: onnx.GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _name(node: NodeProto, users: dict[str, list[NodeProto]], constants: Constants) -> str:
    """The module's name, which the exporter gives to the bias and to weights that are not turned."""
    candidates: list[str] = [node.input[1]]
    for user in users.get(node.output[0], []):
        if user.op_type == "Add":
            candidates += [name for name in user.input if constants.is_float(name)]
    for name in candidates:
        module, dot, kind = name.rpartition(".")
        if dot and kind in ("weight", "bias"):
            return module
    return str(node.name or node.output[0])
