"""The frame graph's search without its loop, for TensorRT.

The exported graph goes over the bank block by block, so that a processor never holds more than one block's
similarities. TensorRT makes of a loop a jump that the host decides: the GPU waits for it once a block, and
such a run may not be captured as a CUDA graph. So before the file is parsed the loop is replaced: the patches
are cut into parts of :data:`PART`, and each part is compared with all of the bank at once. Parts come one
after the other and share their memory, which is ``PART * rows of the bank * 4`` bytes for the largest bank
that the engine takes. How many blocks there are stays open, so what is searched is what is filled.

The weights are not touched, nor is the file: an engine is still known by the hash of the exported one.
"""

from __future__ import annotations

import contextlib
import math

from edgead_runtime import frame_graph
from edgead_runtime.errors import BundleError
from edgead_runtime.onnx_bytes import Node, int64s, node, nodes_of, opset_of, output_shape, replace_node

PART = 128
"""Patches that are compared with the whole bank at a time. A product of as many columns still fills a GPU's
tiles, and the bank is read once a part: 8 times for 32 x 32 patches."""
_PREFIX = "frame/"
_MOST_PATCHES = 1 << 16
_AXES_ARE_AN_INPUT = 18
"""The opset from which ReduceMax takes its axes as one."""


def without_loop(model: bytes) -> bytes:
    """A frame graph whose search is a few products; any other graph as it is.

    Args:
        model: The ONNX file's bytes. What is none stays as it is too: TensorRT's parser says what is wrong.

    Raises:
        BundleError: The frame graph is damaged, or does not say how many patches it has.
    """
    try:
        loop = next((found for found in nodes_of(model) if _is_search(found)), None)
    except BundleError:
        return model
    if loop is None:
        return model
    product = next((inner for inner in loop.body if inner.operator == "MatMul"), None)
    if product is None or not product.inputs or not loop.outputs:
        raise BundleError("the frame graph's search is not one that edgead writes", "Export it again.")
    patches = _patches(model)
    if not 0 < patches <= _MOST_PATCHES:
        raise BundleError("the frame graph does not say how many patches it has", "Export it again.")
    nodes, constants = _search(product.inputs[0], loop.outputs[0], patches, opset_of(model))
    return replace_node(model, lambda found: found == loop, nodes, constants)


def _patches(model: bytes) -> int:
    """How many patches a frame graph says it has: a served one has not all of its outputs. 0: it does not."""
    for output in (frame_graph.LENGTHS, frame_graph.DISTANCES):
        with contextlib.suppress(BundleError):
            return math.prod(output_shape(model, output))
    return 0


def searched_bytes(patches: int, block_rows: int, blocks: int) -> int:
    """Memory that the similarities take, of a bank of as many blocks."""
    return min(PART, patches) * block_rows * blocks * 4


def _is_search(found: Node) -> bool:
    return found.operator == "Loop" and any(frame_graph.BANK in inner.inputs for inner in found.body)


def _search(queries: str, nearest: str, patches: int, opset: int) -> tuple[list[bytes], list[bytes]]:
    """Nodes from the queries ``[N, D]`` to the largest similarity ``[N]``."""
    sizes = [min(PART, patches - start) for start in range(0, patches, PART)]
    parts = [f"{_PREFIX}part_{index}" for index in range(len(sizes))]
    constants = [int64s(_PREFIX + "part_sizes", sizes)]
    axes = {axis: f"{_PREFIX}axis_{axis}" for axis in (0, 1)}
    if opset >= _AXES_ARE_AN_INPUT:
        constants += [int64s(name, [axis]) for axis, name in axes.items()]

    def largest(source: str, axis: int, output: str) -> bytes:
        if opset >= _AXES_ARE_AN_INPUT:
            return node("ReduceMax", [source, axes[axis]], [output], keepdims=0)
        return node("ReduceMax", [source], [output], axes=[axis], keepdims=0)

    nodes = [node("Split", [queries, _PREFIX + "part_sizes"], parts, axis=0)]
    for part in parts:
        steps = [f"{part}/{step}" for step in ("columns", "similarities", "of_blocks", "counted", "nearest")]
        columns, similarities, of_blocks, counted, of_part = steps
        nodes += [
            node("Transpose", [part], [columns], perm=[1, 0]),
            # The bank first, [blocks, rows, D] by [D, part]: the maximum then runs down the columns.
            node("MatMul", [frame_graph.BANK, columns], [similarities]),
            largest(similarities, 1, of_blocks),
            node("Add", [of_blocks, frame_graph.BANK_BIAS], [counted]),
            largest(counted, 0, of_part),
        ]
    nodes.append(node("Concat", [f"{part}/nearest" for part in parts], [nearest], axis=0))
    return nodes, constants
