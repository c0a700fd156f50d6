"""What the activations before linear layers look like on real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from edgead_runtime.engines import Array, EngineOptions, create_engine
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]
_AXES = "edgead/statistics_axes"


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
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    by_attribute = next(entry.version for entry in model.opset_import if entry.domain == "") < 18
    if not by_attribute:
        probe.graph.initializer.append(numpy_helper.from_array(np.array([0, 1], np.int64), _AXES))
    del probe.graph.output[:]
    for name in wanted:
        for operator in ("ReduceMin", "ReduceMax"):
            output = f"edgead/{operator}/{name}"
            probe.graph.node.append(
                helper.make_node(operator, [name], [output], axes=[0, 1], keepdims=0)
                if by_attribute
                else helper.make_node(operator, [name, _AXES], [output], keepdims=0)
            )
            probe.graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    found: dict[str, Activations] = {}
    with create_engine(probe.SerializeToString(), "onnxruntime", EngineOptions()) as engine:
        for feeds in inputs:
            outputs = engine.run(feeds)
            for name in wanted:
                low, high = (
                    np.asarray(outputs[f"edgead/{operator}/{name}"], np.float32)
                    for operator in ("ReduceMin", "ReduceMax")
                )
                before = found.get(name, Activations(low, high))
                found[name] = Activations(np.minimum(low, before.low), np.maximum(high, before.high))
    return found
