"""An fp16 file for GPUs: weights and products in float16, what is delicate in float32.

LayerNormalization and Softmax are float32, and so is everything after the last product (the final LayerNorm,
the features that come out): in a frame graph the search and the score follow in float32. So is every node
that reads or gives what was seen to come near the largest float16. Inputs and outputs stay float32, so that
whoever runs the file need not know. The casts are nodes of the graph: strongly typed builders (TensorRT 10
and newer) do what the file says and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from edgead_export.errors import PrecisionError
from edgead_export.precisions.linears import Constants, drop_unused_constants

WIDE_OPERATORS = frozenset({"LayerNormalization", "Softmax"})
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
_LARGEST = float(np.finfo(np.float16).max)
LARGEST_SEEN = _LARGEST / 4
"""On calibration pictures; others may give more."""


def halved_tensors(model: onnx.ModelProto) -> list[str]:
    """The tensors of an fp32 graph that are float16 in :func:`to_half`, without the constants."""
    halves = _Halving(model)
    return list(
        dict.fromkeys(
            name
            for node in model.graph.node
            if not halves.is_wide(node)
            for name in (*node.input, *node.output)
            if halves.is_computed(name)
        )
    )


def wide_nodes(model: onnx.ModelProto, too_large: Collection[str]) -> tuple[str, ...]:
    """Names of the nodes that stay in float32 for the sake of these tensors alone."""
    halves = _Halving(model)
    return tuple(
        node.name or node.output[0]
        for node in model.graph.node
        if not halves.is_wide(node) and not set(too_large).isdisjoint((*node.input, *node.output))
    )


def to_half(model: onnx.ModelProto, too_large: Collection[str] = ()) -> onnx.ModelProto:
    """The graph with explicit float16; see above.

    Args:
        model: The fp32 graph; not changed.
        too_large: Tensors that float16 might not hold: the nodes that read or give them stay in float32.

    Raises:
        PrecisionError: A weight does not fit into float16, or no product is left in it.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    halves = _Halving(made, too_large)
    if all(halves.is_wide(node) for node in made.graph.node if node.op_type in _PRODUCTS):
        raise PrecisionError(
            f"every product of this encoder comes to values above {LARGEST_SEEN:.0f}, too near to what "
            "float16 holds",
            "Export without fp16.",
        )
    nodes = halves.convert()
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    drop_unused_constants(made)
    return made


class _Halving:
    """One walk over the graph; each tensor is cast to the other type at most once."""

    def __init__(self, model: onnx.ModelProto, too_large: Collection[str] = ()) -> None:
        self._graph = model.graph
        self._too_large = frozenset(too_large)
        self._before_products = _before_products(model.graph)
        self._constants = Constants(model)
        self._floats = _float_tensors(model)
        self._type = {value.name: TensorProto.FLOAT for value in model.graph.input}
        self._outputs = {value.name for value in model.graph.output}
        self._cast: dict[tuple[str, int], str] = {}
        self._made: list[NodeProto] = []

    def is_wide(self, node: NodeProto) -> bool:
        """Whether a node of the fp32 graph stays in float32."""
        return (
            node.op_type in WIDE_OPERATORS
            or node.output[0] not in self._before_products
            or not self._too_large.isdisjoint((*node.input, *node.output))
        )

    def is_computed(self, name: str) -> bool:
        """Whether it is a float tensor and no constant."""
        return name in self._floats and name not in self._constants

    def convert(self) -> list[NodeProto]:
        for original in self._graph.node:
            wide = self.is_wide(original)
            wanted = TensorProto.FLOAT if wide else TensorProto.FLOAT16
            node = NodeProto()
            node.CopyFrom(original)
            for place, name in enumerate(original.input):
                if name in self._floats:
                    node.input[place] = self._as(name, wanted)
            self._made.append(node)
            for place, name in enumerate(original.output):
                if name not in self._floats:
                    continue
                self._type[name] = wanted
                if name in self._outputs and not wide:
                    node.output[place] = inner = f"{name}/inner"
                    self._type[inner] = wanted
                    self._made.append(_cast(inner, name, TensorProto.FLOAT))
                    self._type[name] = TensorProto.FLOAT
                    self._cast[name, wanted] = inner
        return self._made

    def _as(self, name: str, wanted: int) -> str:
        """The name of a tensor in a type, cast where it is not."""
        if name in self._constants:
            return name if wanted == TensorProto.FLOAT else self._half_constant(name)
        if self._type[name] == wanted:
            return name
        if (name, wanted) not in self._cast:
            kind = "fp16" if wanted == TensorProto.FLOAT16 else "fp32"
            self._cast[name, wanted] = f"{name}/{kind}"
            self._made.append(_cast(name, self._cast[name, wanted], wanted))
        return self._cast[name, wanted]

    def _half_constant(self, name: str) -> str:
        half = f"{name}/fp16"
        if half not in self._constants:
            values = self._constants.read(name)
            if values.size and float(np.abs(values).max()) > _LARGEST:
                raise PrecisionError(
                    f"{name} has values above {_LARGEST:.0f}, which float16 does not hold",
                    "Export without fp16.",
                )
            self._constants.write(half, values.astype(np.float16))
        return half


def _cast(source: str, output: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [output], name=f"{output}/Cast", to=to)


def _before_products(graph: onnx.GraphProto) -> set[str]:
    """Tensors that a product, or what leads to one, is made from, and the products' own results."""
    found: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in _PRODUCTS or any(name in found for name in node.output):
            found.update(node.input)
            found.update(node.output)
    return found


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in inferred.initializer if tensor.data_type == TensorProto.FLOAT}
