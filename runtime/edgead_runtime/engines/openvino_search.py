"""Searching in bfloat16 without losing digits: for graphs whose encoder runs in bfloat16.

The largest similarity of a bfloat16 product is off by its rounding, and ``1 - cosine`` cancels. But which row
of a block is the nearest can be told from it, and that row's similarity is then computed in float32. The
block's mean is taken out of its rows before they are rounded: it adds the same to all of a query's
similarities, and where features are much alike (all pointing the same way) it is most of them.
"""

from __future__ import annotations

from typing import Any

import openvino as ov
from openvino import opset13 as opset


def search_coarsely(graph: Any) -> None:
    """Find the largest of a product's rows in bfloat16, in the loops of a graph, and compute it in float32.

    Changes ``ReduceMax(A B^T)`` over the last axis, ``A [N, D]`` and ``B [M, D]``, inside loop bodies, so
    that ``[N, M]`` numbers are made in bfloat16 alone. Where two rows are within bfloat16's rounding of each
    other the second nearest may be found.

    Args:
        graph: Changed in place.
    """
    for loop in graph.get_ops():
        if loop.get_type_name() == "Loop":
            body = loop.get_function()
            for node in body.get_ordered_ops():
                if node.get_type_name() == "ReduceMax":
                    _replace(node)
            body.validate_nodes_and_infer_types()


def _replace(maximum: Any) -> None:
    product = maximum.input_value(0).get_node()
    if product.get_type_name() != "MatMul":
        return
    queries, rows = product.input_value(0), _turned_back(product.input_value(1))
    if rows is None:
        return
    one, down, across = (opset.constant(value, ov.Type.i64) for value in (1, 0, [1]))
    mean = opset.reduce_mean(rows, opset.constant([0], ov.Type.i64), True)
    coarse = [opset.convert(operand, ov.Type.bf16) for operand in (opset.subtract(rows, mean), queries)]
    # Rows first: the maximum then runs down columns, which is several times faster.
    similarities = opset.matmul(*coarse, False, True)
    best = opset.topk(similarities, one, 0, "max", "none", index_element_type="i32")
    nearest = opset.gather(rows, opset.squeeze(best.output(1), down), down)
    exact = opset.reduce_sum(opset.multiply(queries, nearest), across, False)
    for target in maximum.output(0).get_target_inputs():
        target.replace_source_output(exact.output(0))


def _turned_back(operand: Any) -> Any:
    """What ``operand`` is the transpose of; ``None`` where it is not a transpose."""
    node = operand.get_node()
    if node.get_type_name() != "Transpose":
        return None
    order = node.input_value(1).get_node()
    if order.get_type_name() != "Constant" or list(order.get_data()) != [1, 0]:
        return None
    return node.input_value(0)
