"""A bfloat16 file as something that a processor can run: the same roundings, in float32.

ONNX Runtime has no bfloat16 products on a CPU, so the file itself cannot be judged there. What is judged
instead computes each operator in float32 and rounds what comes out to bfloat16, as a GPU does that multiplies
bfloat16 numbers and adds them up in float32. A GPU's builder also joins operators and then rounds less often
than this.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

_MOVING = frozenset(
    {
        *("Reshape", "Transpose", "Slice", "Split", "Concat", "Gather", "Expand", "Squeeze", "Unsqueeze"),
        *("Identity", "Flatten", "Tile"),
    }
)
"""Operators that change no number."""


def rounded_in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph that gives what a graph with bfloat16 gives; see above.

    Args:
        model: With explicit bfloat16, and float32 inputs and outputs; not changed.
    """
    coarse = _bfloat16_tensors(model)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for constant in made.graph.initializer:
        if constant.data_type == TensorProto.BFLOAT16:
            constant.CopyFrom(numpy_helper.from_array(_widened(constant), constant.name))
    nodes: list[NodeProto] = []
    for original in model.graph.node:
        node = NodeProto()
        node.CopyFrom(original)
        nodes.append(node)
        if _is_cast_down(original):
            nodes.pop()
            nodes += _rounding(original.input[0], original.output[0])
        elif original.op_type not in _MOVING:
            for place, name in enumerate(original.output):
                if name in coarse:
                    node.output[place] = f"{name}/exact"
                    nodes += _rounding(node.output[place], name)
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    return made


def _is_cast_down(node: NodeProto) -> bool:
    return node.op_type == "Cast" and any(
        attribute.name == "to" and attribute.i == TensorProto.BFLOAT16 for attribute in node.attribute
    )


def _rounding(source: str, output: str) -> list[NodeProto]:
    levels = f"{output}/levels"
    return [
        helper.make_node("Cast", [source], [levels], name=f"{levels}/Cast", to=TensorProto.BFLOAT16),
        helper.make_node("Cast", [levels], [output], name=f"{output}/Widened", to=TensorProto.FLOAT),
    ]


def _bfloat16_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name
        for value in inferred.value_info
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16
    }


def _widened(constant: TensorProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    # bfloat16 is the upper half of a float32.
    upper = np.frombuffer(constant.raw_data, "<u2").astype(np.uint32) << 16
    return upper.view(np.float32).reshape(tuple(constant.dims))
