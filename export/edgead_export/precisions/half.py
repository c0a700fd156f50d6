"""Files in 16 bits for GPUs: weights and products in float16 or bfloat16, what is delicate in float32.

LayerNormalization and Softmax are float32, and so is everything after the last product (the final LayerNorm,
the features that come out): in a frame graph the search and the score follow in float32. So is every node
that reads or gives what was seen to come near the largest number of the type, and every operator that ONNX
does not define for it (Conv in bfloat16, before opset 22). Inputs and outputs stay float32, so that
whoever runs the file need not know. The casts are nodes of the graph: strongly typed builders (TensorRT 10
and newer) do what the file says and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from edgead_export.errors import PrecisionError
from edgead_export.precisions.linears import Constants, drop_unused_constants

WIDE_OPERATORS = frozenset({"LayerNormalization", "Softmax"})
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
_LARGEST = float(np.finfo(np.float16).max)
LARGEST_SEEN = _LARGEST / 4
"""In float16, on calibration pictures; others may give more."""


@dataclass(frozen=True)
class HalfType:
    """A number in 16 bits."""

    precision: str
    name: str
    """ONNX's, as in ``tensor(float16)``."""
    element: int
    dtype: np.dtype[Any]
    largest: float


FLOAT16 = HalfType("fp16", "float16", TensorProto.FLOAT16, np.dtype(np.float16), _LARGEST)
BFLOAT16 = HalfType(
    "bf16", "bfloat16", TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16), (2 - 2.0**-7) * 2.0**127
)
"""float32's range with 8 bits of mantissa: nothing overflows, and numbers are 8 times as coarse."""


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


def to_half(
    model: onnx.ModelProto, too_large: Collection[str] = (), kind: HalfType = FLOAT16
) -> onnx.ModelProto:
    """The graph with explicit float16 or bfloat16; see above.

    Args:
        model: The fp32 graph; not changed.
        too_large: Tensors that the type might not hold: the nodes that read or give them stay in float32.
        kind: Which of the two.

    Raises:
        PrecisionError: A weight does not fit into the type, or no product is left in it.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    halves = _Halving(made, too_large, kind)
    if all(halves.is_wide(node) for node in made.graph.node if node.op_type in _PRODUCTS):
        raise PrecisionError(
            f"every product of this encoder comes to values above {LARGEST_SEEN:.0f}, too near to what "
            f"{kind.name} holds",
            f"Export without {kind.precision}.",
        )
    nodes = halves.convert()
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    drop_unused_constants(made)
    return made


class _Halving:
    """One walk over the graph; each tensor is cast to the other type at most once."""

    def __init__(
        self, model: onnx.ModelProto, too_large: Collection[str] = (), kind: HalfType = FLOAT16
    ) -> None:
        self._graph = model.graph
        self._kind = kind
        self._takes = _operators_for(model, kind)
        self._too_large = frozenset(too_large)
        self._before_products = _before_products(model.graph)
        self._constants = Constants(model)
        self._floats = _float_tensors(model)
        self._type: dict[str, int] = {value.name: TensorProto.FLOAT for value in model.graph.input}
        self._outputs = {value.name for value in model.graph.output}
        self._cast: dict[tuple[str, int], str] = {}
        self._made: list[NodeProto] = []

    def is_wide(self, node: NodeProto) -> bool:
        """Whether a node of the fp32 graph stays in float32."""
        return (
            node.op_type in WIDE_OPERATORS
            or node.op_type not in self._takes
            or node.output[0] not in self._before_products
            or not self._too_large.isdisjoint((*node.input, *node.output))
        )

    def is_computed(self, name: str) -> bool:
        """Whether it is a float tensor and no constant."""
        return name in self._floats and name not in self._constants

    def convert(self) -> list[NodeProto]:
        for original in self._graph.node:
            wide = self.is_wide(original)
            wanted = TensorProto.FLOAT if wide else self._kind.element
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
            to = self._kind.precision if wanted == self._kind.element else "fp32"
            self._cast[name, wanted] = f"{name}/{to}"
            self._made.append(_cast(name, self._cast[name, wanted], wanted))
        return self._cast[name, wanted]

    def _half_constant(self, name: str) -> str:
        kind = self._kind
        half = f"{name}/{kind.precision}"
        if half not in self._constants:
            values = self._constants.read(name)
            if values.size and float(np.abs(values).max()) > kind.largest:
                raise PrecisionError(
                    f"{name} has values above {kind.largest:.0f}, which {kind.name} does not hold",
                    f"Export without {kind.precision}.",
                )
            self._constants.write(half, values.astype(kind.dtype))
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


def _operators_for(model: onnx.ModelProto, kind: HalfType) -> set[str]:
    """The graph's operators that take a type in its opset."""
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    found = set()
    for operator in {node.op_type for node in model.graph.node}:
        schema = onnx.defs.get_schema(operator, max_inclusive_version=opset)
        if any(f"tensor({kind.name})" in each.allowed_type_strs for each in schema.type_constraints):
            found.add(operator)
    return found


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in inferred.initializer if tensor.data_type == TensorProto.FLOAT}
