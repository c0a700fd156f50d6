"""What the activations before linear layers look like on real pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from edgead_runtime.engines import Array, EngineOptions, create_engine
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]
_AXES = "edgead/statistics_axes"
_RANGE = ("ReduceMin", "ReduceMax")
_MEAN = ("ReduceMean",)


@dataclass(frozen=True)
class Activations:
    """The smallest and largest value of each channel of one tensor, ``[K]`` each."""

    low: Floats
    high: Floats

    @property
    def magnitude(self) -> Floats:
        """The largest absolute value of each channel, ``[K]``."""
        found: Floats = np.maximum(np.abs(self.low), np.abs(self.high))
        return found


def observe(
    model: onnx.ModelProto, names: Sequence[str], inputs: Sequence[dict[str, Array]]
) -> dict[str, Activations]:
    """Run the graph on pictures and keep the range of every channel of some tensors.

    The ranges are taken in the graph: the tensors themselves would be gigabytes for a large encoder.

    Args:
        model: The fp32 graph; not changed.
        names: Tensors ``[B, N, K]``.
        inputs: The graph's input for each picture.
    """
    wanted = list(dict.fromkeys(names))
    found: dict[str, Activations] = {}
    for picture in _reduced(_probe(model, wanted, _RANGE, by_channel=True), wanted, _RANGE, inputs):
        for name, parts in picture.items():
            seen = Activations(*parts)
            before = found.get(name, seen)
            found[name] = Activations(np.minimum(seen.low, before.low), np.maximum(seen.high, before.high))
    return found


def means(
    model: onnx.ModelProto, names: Sequence[str], inputs: Sequence[dict[str, Array]]
) -> dict[str, Floats]:
    """Run the graph on pictures and keep the mean of every channel ``[K]`` of some tensors.

    Args:
        model: The fp32 graph; not changed.
        names: Tensors ``[B, N, K]``.
        inputs: The graph's input for each picture.
    """
    wanted = list(dict.fromkeys(names))
    sums = {name: np.float32(0) for name in wanted}
    for picture in _reduced(_probe(model, wanted, _MEAN, by_channel=True), wanted, _MEAN, inputs):
        sums = {name: sums[name] + picture[name][0] for name in wanted}
    return {name: np.asarray(total / len(inputs), np.float32) for name, total in sums.items()}


def largest(
    model: onnx.ModelProto, names: Sequence[str], inputs: Sequence[dict[str, Array]]
) -> dict[str, float]:
    """Run the graph on pictures and keep the largest absolute value of some tensors, NaN where one is NaN.

    Args:
        model: The fp32 graph; not changed.
        names: Float tensors of any shape.
        inputs: The graph's input for each picture.
    """
    wanted = list(dict.fromkeys(names))
    found = dict.fromkeys(wanted, 0.0)
    for picture in _reduced(_probe(model, wanted, _RANGE, by_channel=False), wanted, _RANGE, inputs):
        for name, parts in picture.items():
            found[name] = float(np.maximum(found[name], Activations(*parts).magnitude))
    return found


def _probe(
    model: onnx.ModelProto, names: Sequence[str], operators: Sequence[str], *, by_channel: bool
) -> onnx.ModelProto:
    """The graph with nothing but reductions of some tensors as outputs."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    by_attribute = next(entry.version for entry in model.opset_import if entry.domain == "") < 18
    if by_channel and not by_attribute:
        probe.graph.initializer.append(numpy_helper.from_array(np.array([0, 1], np.int64), _AXES))
    del probe.graph.output[:]
    for name in names:
        for operator in operators:
            output = f"edgead/{operator}/{name}"
            if not by_channel:
                node = helper.make_node(operator, [name], [output], keepdims=0)
            elif by_attribute:
                node = helper.make_node(operator, [name], [output], axes=[0, 1], keepdims=0)
            else:
                node = helper.make_node(operator, [name, _AXES], [output], keepdims=0)
            probe.graph.node.append(node)
            probe.graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    return probe


def _reduced(
    probe: onnx.ModelProto,
    names: Sequence[str],
    operators: Sequence[str],
    inputs: Sequence[dict[str, Array]],
) -> Iterator[dict[str, list[Floats]]]:
    """What the probe gives for each picture: of each tensor its reductions in their order."""
    with create_engine(probe.SerializeToString(), "onnxruntime", EngineOptions()) as engine:
        for feeds in inputs:
            outputs = engine.run(feeds)
            yield {
                name: [np.asarray(outputs[f"edgead/{operator}/{name}"], np.float32) for operator in operators]
                for name in names
            }
