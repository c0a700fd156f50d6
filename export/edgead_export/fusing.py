"""The frame-to-heatmap graph: an encoder with the rest of the frame around it.

What comes before and after the encoder is made node by node and joined to the encoder's file as it is, so
that the fused encoder is the one that was traced and compared, in whatever precision it has. Operators are
those of opset 17 that ONNX Runtime, OpenVINO and TensorRT's parser all know (18 to 20 differ in reductions
alone); Scan, which would slice the bank without copying, is not among them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from edgead_runtime import frame_graph
from edgead_runtime.manifest import EncoderManifest, FeatureOutput
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

_PREFIX = "frame/"
"""Of every name that is made here, so that none meets one of the encoder's."""
_LEAST_LENGTH = 1e-12
"""A feature of length zero stays zero."""


def fuse(encoder: onnx.ModelProto, manifest: EncoderManifest) -> onnx.ModelProto:
    """The graph of a whole frame; see :mod:`edgead_runtime.frame_graph`.

    Args:
        encoder: The encoder's graph.
        manifest: Says what goes in and comes out of it. The deepest layer is searched for.
    """
    feature = fused_feature(manifest)
    graph = encoder.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    opset = next(entry.version for entry in encoder.opset_import if entry.domain == "")
    head = _Nodes(opset)
    _head(head, manifest, types[manifest.input.name])
    tail = _Nodes(opset)
    _tail(tail, manifest, feature, types[feature.name])
    inputs, outputs = _interface(manifest, feature)
    fused = onnx.ModelProto()
    fused.CopyFrom(encoder)
    del fused.graph.node[:], fused.graph.input[:], fused.graph.value_info[:]
    fused.graph.name = "edgead-frame"
    fused.graph.input.extend(inputs)
    fused.graph.output.extend(outputs)
    fused.graph.node.extend([*head.nodes, *graph.node, *tail.nodes])
    fused.graph.initializer.extend([*head.constants, *tail.constants])
    return fused


def fused_feature(manifest: EncoderManifest) -> FeatureOutput:
    """The output that the frame graph searches for."""
    return max(manifest.features, key=lambda feature: feature.layer)


class _Nodes:
    """Nodes and constants in the order they are made."""

    def __init__(self, opset: int, outer: _Nodes | None = None) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._opset, self._outer = opset, outer

    def inner(self) -> _Nodes:
        """The body of a loop, whose constants are those of the graph around it."""
        return _Nodes(self._opset, self)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One node with one output, whose name is returned."""
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{_PREFIX}{output}", **attributes)
        )
        return output

    def reduce(self, operator: str, source: str, output: str, axis: int, *, keep: bool) -> str:
        """A reduction over one axis, which opset 18 made an input."""
        if self._opset < 18:
            return self.add(operator, [source], output, axes=[axis], keepdims=int(keep))
        axes = self.constant(f"axes_of_{output.removeprefix(_PREFIX)}", np.array([axis], np.int64))
        return self.add(operator, [source, axes], output, keepdims=int(keep))

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """A constant, whose name is returned."""
        if self._outer is not None:
            return self._outer.constant(name, value)
        self.constants.append(numpy_helper.from_array(value, _PREFIX + name))
        return _PREFIX + name


def _head(made: _Nodes, manifest: EncoderManifest, wanted: int) -> None:
    """From the frame's bytes to the encoder's input."""
    rule = manifest.preprocess
    # (x / 255 - mean) / std as one product and one sum.
    factor = 1 / (255 * np.array(rule.std, dtype=np.float64))
    shift = -np.array(rule.mean, dtype=np.float64) / np.array(rule.std, dtype=np.float64)
    per_channel = {"factor": factor, "shift": shift}
    constants = {
        name: made.constant(name, value.astype(np.float32).reshape(1, 3, 1, 1))
        for name, value in per_channel.items()
    }
    levels = made.add("Cast", [frame_graph.FRAME], _PREFIX + "levels", to=TensorProto.FLOAT)
    planes = made.add("Transpose", [levels], _PREFIX + "bgr", perm=[0, 3, 1, 2])
    order = made.constant("rgb_order", np.array([2, 1, 0], dtype=np.int64))
    rgb = made.add("Gather", [planes, order], _PREFIX + "rgb", axis=1)
    scaled = made.add("Mul", [rgb, constants["factor"]], _PREFIX + "scaled")
    shifted = made.add("Add", [scaled, constants["shift"]], _PREFIX + "normalized")
    made.add("Cast", [shifted], manifest.input.name, to=wanted)


def _tail(made: _Nodes, manifest: EncoderManifest, feature: FeatureOutput, given: int) -> None:
    """From the features to score and map, all of it in float32: 1 - cosine cancels."""
    tokens = feature.name
    if given != TensorProto.FLOAT:
        tokens = made.add("Cast", [tokens], _PREFIX + "features", to=TensorProto.FLOAT)
    patches = math.prod(manifest.grid)
    shape = made.constant("patch_rows", np.array([patches, feature.dim], dtype=np.int64))
    rows = made.add("Reshape", [tokens, shape], _PREFIX + "rows")
    lengths = made.reduce("ReduceL2", rows, _PREFIX + "lengths", 1, keep=True)
    flat = made.constant("flat", np.array([-1], dtype=np.int64))
    made.add("Reshape", [lengths, flat], frame_graph.LENGTHS)
    least = made.constant("least_length", np.array(_LEAST_LENGTH, dtype=np.float32))
    divisors = made.add("Max", [lengths, least], _PREFIX + "divisors")
    queries = made.add("Div", [rows, divisors], _PREFIX + "queries")
    nearest = _search(made, queries, patches)
    one = made.constant("one", np.array(1, dtype=np.float32))
    distances = made.add("Sub", [one, nearest], _PREFIX + "cosine_distances")
    limits = [made.constant(name, np.array(value, np.float32)) for name, value in (("low", 0), ("high", 2))]
    clipped = made.add("Clip", [distances, *limits], _PREFIX + "clipped")
    grid = made.constant("grid", np.array(manifest.grid, dtype=np.int64))
    on_grid = made.add("Reshape", [clipped, grid], _PREFIX + "on_grid")
    weighted = made.add("Mul", [on_grid, frame_graph.PATCH_WEIGHTS], frame_graph.DISTANCES)
    _score(made, made.add("Reshape", [weighted, flat], _PREFIX + "all_distances"), patches)
    down = made.add("MatMul", [frame_graph.MAP_DOWN, weighted], _PREFIX + "tall")
    across = made.add("Transpose", [frame_graph.MAP_ACROSS], _PREFIX + "across", perm=[1, 0])
    made.add("MatMul", [down, across], frame_graph.MAP)


def _search(made: _Nodes, queries: str, patches: int) -> str:
    """Similarity ``[N]`` to the nearest row of the bank: a running maximum over its blocks.

    One product with the whole bank is no faster (docs/design.md) and needs N * M numbers at a time.
    """
    body = made.inner()
    number, go_on, best = (_PREFIX + name for name in ("block_number", "go_on", "best"))
    block = body.add("Gather", [frame_graph.BANK, number], _PREFIX + "block", axis=0)
    turned = body.add("Transpose", [block], _PREFIX + "block_columns", perm=[1, 0])
    similarities = body.add("MatMul", [queries, turned], _PREFIX + "similarities")
    of_block = body.reduce("ReduceMax", similarities, _PREFIX + "of_block", 1, keep=False)
    bias = body.add("Gather", [frame_graph.BANK_BIAS, number], _PREFIX + "block_bias", axis=0)
    counted = body.add("Add", [of_block, bias], _PREFIX + "counted")
    better = body.add("Max", [best, counted], _PREFIX + "better")
    going_on = body.add("Identity", [go_on], _PREFIX + "going_on")
    loop = helper.make_graph(
        body.nodes,
        "edgead-search",
        [
            _value(number, TensorProto.INT64, []),
            _value(go_on, TensorProto.BOOL, []),
            _floats(best, [patches]),
        ],
        [_value(going_on, TensorProto.BOOL, []), _floats(better, [patches])],
    )
    first = made.constant("first", np.array(0, dtype=np.int64))
    shape = made.add("Shape", [frame_graph.BANK], _PREFIX + "bank_shape")
    blocks = made.add("Gather", [shape, first], _PREFIX + "blocks", axis=0)
    true = made.constant("true", np.array(True))
    nothing = made.constant("nothing_yet", np.full(patches, 2 * frame_graph.UNUSED, dtype=np.float32))
    return made.add("Loop", [blocks, true, nothing], _PREFIX + "nearest", body=loop)


def _score(made: _Nodes, distances: str, patches: int) -> None:
    count = made.constant("top_count", np.array([frame_graph.top_count(patches)], dtype=np.int64))
    made.nodes.append(
        helper.make_node(
            "TopK",
            [distances, count],
            [_PREFIX + "top", _PREFIX + "top_places"],
            name=_PREFIX + "top",
            axis=0,
        )
    )
    made.reduce("ReduceMean", _PREFIX + "top", frame_graph.SCORE, 0, keep=True)


def _interface(
    manifest: EncoderManifest, feature: FeatureOutput
) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """What goes in, and what comes out beside the encoder's own outputs."""
    rows, columns = manifest.grid
    size = [manifest.input.height, manifest.input.width]
    block_rows = frame_graph.block_rows_for(rows * columns)
    inputs = [
        _value(frame_graph.FRAME, TensorProto.UINT8, [1, *size, 3]),
        _floats(frame_graph.BANK, ["blocks", block_rows, feature.dim]),
        _floats(frame_graph.BANK_BIAS, ["blocks", 1]),
        _floats(frame_graph.PATCH_WEIGHTS, [rows, columns]),
        _floats(frame_graph.MAP_DOWN, ["map_height", rows]),
        _floats(frame_graph.MAP_ACROSS, ["map_width", columns]),
    ]
    outputs = [
        _floats(frame_graph.DISTANCES, [rows, columns]),
        _floats(frame_graph.SCORE, [1]),
        _floats(frame_graph.MAP, ["map_height", "map_width"]),
        _floats(frame_graph.LENGTHS, [rows * columns]),
    ]
    return inputs, outputs


def _value(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _floats(name: str, shape: list[int | str]) -> ValueInfoProto:
    return _value(name, TensorProto.FLOAT, shape)
