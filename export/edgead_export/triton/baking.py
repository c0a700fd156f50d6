"""A detector as one graph with one input: its frame graph with the bank and everything else as constants.

Whoever sends a frame gets score, verdict and map, and need not know what a bank is. The price is that a good
part which is added later needs a new file: it is a copy of the detector as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from edgead_runtime import Detector, frame_graph
from edgead_runtime.anomaly_map import axis_matrix
from edgead_runtime.areas import area_from_rows
from edgead_runtime.memory import scale
from edgead_runtime.pipeline import Pipeline
from edgead_runtime.scoring import scored_count
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgead_export.errors import TritonError
from edgead_export.fusing import fused_feature
from edgead_export.precisions.linears import drop_unused_constants

Floats = NDArray[np.float32]
ANOMALY = "anomaly"
"""Output of a baked graph: ``[1]`` bool, the verdict. True also where there is no number to judge."""
OUTPUTS = (frame_graph.SCORE, ANOMALY, frame_graph.MAP, frame_graph.DISTANCES)
_LARGEST_FILE = 2**31 - 2**24
"""An ONNX file is one protobuf message; some room for what is not numbers."""
_PREFIX = "served/"


@dataclass(frozen=True)
class FrameConstants:
    """What a detector feeds its frame graph with, and how it judges what comes out."""

    bank: Floats
    """``[blocks, block_rows, D]``."""
    patch_weights: Floats
    """``[rows, columns]``: the recipe's scale, times 0 or the background's weight outside a drawn area."""
    map_down: Floats
    """``[H, rows]``; rows of zeros for the strip that the crop cuts off."""
    map_across: Floats
    """``[W, columns]``."""
    score_weights: Floats
    """Of the largest distances, the largest first: the score is their sum."""
    threshold: float

    def inputs(self) -> dict[str, Floats]:
        """By the names of the frame graph."""
        return {
            frame_graph.BANK: self.bank,
            frame_graph.BANK_BIAS: np.zeros((len(self.bank), 1), np.float32),
            frame_graph.PATCH_WEIGHTS: self.patch_weights,
            frame_graph.MAP_DOWN: self.map_down,
            frame_graph.MAP_ACROSS: self.map_across,
        }


def check_bakeable(detector: Detector) -> None:
    """Refuse a detector whose method one graph cannot hold.

    Raises:
        TritonError: Its recipe asks for more than the nearest patch, or it masks each frame anew.
    """
    recipe, mask = detector.recipe, detector.mask
    searched = fused_feature(detector.encoder.manifest).layer
    if not recipe.asks_for_nearest or detector.layers != (searched,):
        raise TritonError(
            f"recipe '{recipe.name}' asks for more than the nearest good patch of layer {searched}, and a "
            "frame graph computes nothing else",
            "Serve it with --backend python, which runs the detector itself.",
        )
    if mask.enabled and mask.area is None:
        raise TritonError(
            "the detector makes a mask for each frame, and a graph cannot (its iteration ends when it has "
            "converged)",
            "Serve it with --backend python, or enrol with --mask off or a drawn area.",
        )


def constants_of(detector: Detector, map_hw: tuple[int, int]) -> FrameConstants:
    """What :func:`bake` puts into the graph.

    Args:
        detector: One that :func:`check_bakeable` takes.
        map_hw: Size of the frames that the map is to lie over (height, width).
    """
    encoder, recipe, mask = detector.encoder, detector.recipe, detector.mask
    rows, columns = grid = encoder.manifest.grid
    weights = scale(np.ones(grid, np.float32), recipe)
    if mask.enabled and mask.area is not None:
        outside = np.float32(recipe.background_weight)
        weights = np.where(area_from_rows(mask.area), weights, weights * outside)
    height, width = Pipeline(encoder, recipe, mask).map_extent(map_hw)
    tokens = np.concatenate([reference.tokens[-1] for reference in detector.references])
    return FrameConstants(
        bank=frame_graph.fill_blocks(tokens, frame_graph.block_rows_for(rows * columns)),
        patch_weights=weights.astype(np.float32),
        map_down=_padded(axis_matrix(rows, height, recipe.smoothing_sigma_px), map_hw[0]),
        map_across=_padded(axis_matrix(columns, width, recipe.smoothing_sigma_px), map_hw[1]),
        score_weights=_score_weights(detector, rows * columns),
        threshold=detector.threshold,
    )


def _padded(matrix: Floats, pixels: int) -> Floats:
    padded = np.zeros((pixels, matrix.shape[1]), np.float32)
    padded[: len(matrix)] = matrix
    return padded


def _score_weights(detector: Detector, patches: int) -> Floats:
    """The recipe's statistic as a weighted sum of the largest distances, in falling order."""
    recipe = detector.recipe
    count = scored_count(patches, recipe.top_fraction, recipe.statistic)
    if recipe.statistic != "quantile":
        return np.full(count, 1 / count, np.float32)
    # numpy's quantile lies between two neighbours in the order; counted from the top, the lower is the last.
    place = (1 - recipe.top_fraction) * (patches - 1)
    weights = np.zeros(count, np.float32)
    weights[-1] = 1 - (place - np.floor(place))
    if count > 1:
        weights[-2] = place - np.floor(place)
    return weights


def bake(frame_model: onnx.ModelProto, constants: FrameConstants) -> onnx.ModelProto:
    """The frame graph with one input, ``frame``, and the outputs :data:`OUTPUTS`.

    Args:
        frame_model: A graph of :mod:`edgead_runtime.frame_graph`; not changed.
        constants: See :func:`constants_of`.

    Raises:
        TritonError: Bank and weights together are larger than an ONNX file can be.
    """
    size = frame_model.ByteSize() + constants.bank.nbytes
    if size > _LARGEST_FILE:
        raise TritonError(
            f"encoder and bank together are {size / 2**30:.1f} GiB; an ONNX file holds 2",
            "Enrol with --coreset 0.25, or serve it with --backend python.",
        )
    made = onnx.ModelProto()
    made.CopyFrom(frame_model)
    graph = made.graph
    values = constants.inputs()
    kept = [value for value in graph.input if value.name not in values]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    _weigh_the_largest(graph, constants.score_weights)
    _judge(graph, constants.threshold)
    map_hw = [len(constants.map_down), len(constants.map_across)]
    known = {value.name: value for value in graph.output}
    known[frame_graph.MAP] = helper.make_tensor_value_info(frame_graph.MAP, TensorProto.FLOAT, map_hw)
    known[ANOMALY] = helper.make_tensor_value_info(ANOMALY, TensorProto.BOOL, [1])
    del graph.output[:], graph.value_info[:]
    graph.output.extend(known[name] for name in OUTPUTS)
    graph.name = "edgead-detector"
    _drop_unused_nodes(graph)
    drop_unused_constants(made)
    return made


def _weigh_the_largest(graph: onnx.GraphProto, weights: Floats) -> None:
    """The recipe's statistic in the place of the graph's own mean."""
    (mean,) = [node for node in graph.node if frame_graph.SCORE in node.output]
    (top,) = [node for node in graph.node if mean.input[0] in node.output]
    count, column = _PREFIX + "top_count", _PREFIX + "score_weights"
    graph.initializer.append(numpy_helper.from_array(np.array([len(weights)], np.int64), count))
    graph.initializer.append(numpy_helper.from_array(weights.reshape(-1, 1), column))
    top.input[1] = count
    mean.CopyFrom(
        helper.make_node("MatMul", [top.output[0], column], [frame_graph.SCORE], name=_PREFIX + "score")
    )


def _judge(graph: onnx.GraphProto, threshold: float) -> None:
    """The verdict: anomalous unless features and score are numbers, and that of at most the threshold."""
    limits = {"threshold": np.float32(threshold), "largest": np.finfo(np.float32).max}
    graph.initializer.extend(
        numpy_helper.from_array(np.array([value], np.float32), _PREFIX + name)
        for name, value in limits.items()
    )
    names = {name: _PREFIX + name for name in (*limits, "lengths", "numbers", "below", "good")}
    for operator, inputs, output in (
        # A comparison with what is not a number is false, so that the doubt goes the safe way.
        ("ReduceSum", [frame_graph.LENGTHS], names["lengths"]),
        ("LessOrEqual", [names["lengths"], names["largest"]], names["numbers"]),
        ("LessOrEqual", [frame_graph.SCORE, names["threshold"]], names["below"]),
        ("And", [names["numbers"], names["below"]], names["good"]),
        ("Not", [names["good"]], ANOMALY),
    ):
        node = helper.make_node(operator, inputs, [output], name=f"{_PREFIX}{output}")
        if operator == "ReduceSum":
            node.attribute.append(helper.make_attribute("keepdims", 0))
        graph.node.append(node)


def _drop_unused_nodes(graph: onnx.GraphProto) -> None:
    """Without what only the outputs that are gone were made by: layers that nobody searches."""
    needed = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(_read_by([node]))
    copies = [NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(copies)


def _read_by(nodes: Sequence[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read_by(attribute.g.node)
