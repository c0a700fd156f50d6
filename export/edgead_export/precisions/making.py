"""Files in eight bits from the traced fp32 graph, and how far they have to give in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from edgead_runtime.engines import Array, EngineOptions, EnginePrecision, create_engine
from numpy.typing import NDArray

from edgead_export.precisions.centering import center
from edgead_export.precisions.fp8 import quantize_linears_to_fp8
from edgead_export.precisions.half import LARGEST_SEEN, halved_tensors, to_half
from edgead_export.precisions.int8 import quantize_linears
from edgead_export.precisions.linears import find_linears
from edgead_export.precisions.smoothing import smooth
from edgead_export.precisions.statistics import Activations, largest, means, observe

_MOST_KEPT = 0.3
"""Of the layers: with more of them in float32 the file is hardly faster than fp32."""
_OPSET_OF_HALF_SCALES = 19
"""The first in which QuantizeLinear knows float16 and fp8. JetPack 6's TensorRT reads up to 20."""
_Quantize = Callable[[Collection[str]], onnx.ModelProto]


@dataclass(frozen=True)
class Attempt:
    """A graph in eight bits."""

    model: onnx.ModelProto
    kept: tuple[str, ...]
    """Layers that stay in what the rest is in."""


def int8_attempts(
    model: onnx.ModelProto, inputs: Sequence[dict[str, Array]], *, symmetric: bool = False
) -> Iterator[Attempt]:
    """The int8 graph, and then those with more and more of the most sensitive layers left out.

    Args:
        model: The fp32 graph; not changed.
        inputs: The encoder's input for each calibration picture.
        symmetric: As TensorRT takes it: activations signed around 0, and what is not int8 in float16 but for
            what is delicate, since in float32 attention is never one kernel.
    """
    smoothed = onnx.ModelProto()
    smoothed.CopyFrom(model)
    activations = smooth(smoothed, _observed(model, inputs))
    too_large = too_large_for_half(smoothed, inputs) if symmetric else set()

    def quantized(keep: Collection[str]) -> onnx.ModelProto:
        made = quantize_linears(smoothed, activations, keep=keep, symmetric=symmetric)
        return rest_in_half(made, too_large) if symmetric else made

    yield from _attempts(smoothed, inputs, quantized, "int8")


def fp8_attempts(model: onnx.ModelProto, inputs: Sequence[dict[str, Array]]) -> Iterator[Attempt]:
    """The fp8 graph with its rest in float16, and then those with more and more layers left out.

    Args:
        model: The fp32 graph; not changed.
        inputs: The encoder's input for each calibration picture.
    """
    centered = onnx.ModelProto()
    centered.CopyFrom(model)
    center(centered, means(model, [linear.source for linear in find_linears(model)], inputs))
    activations = _observed(centered, inputs)
    too_large = too_large_for_half(centered, inputs)

    def quantized(keep: Collection[str]) -> onnx.ModelProto:
        return rest_in_half(quantize_linears_to_fp8(centered, activations, keep=keep), too_large)

    yield from _attempts(centered, inputs, quantized, "fp8")


def too_large_for_half(model: onnx.ModelProto, inputs: Sequence[dict[str, Array]]) -> set[str]:
    """The tensors that float16 might not hold, on the calibration pictures."""
    seen = largest(model, halved_tensors(model), inputs)
    # Not above: so that what is not a number is too large as well.
    return {name for name, value in seen.items() if not value <= LARGEST_SEEN}


def _attempts(
    exact: onnx.ModelProto,
    inputs: Sequence[dict[str, Array]],
    quantized: _Quantize,
    precision: EnginePrecision,
) -> Iterator[Attempt]:
    """All layers first, then without those that matter most.

    How sensitive a layer is, is measured when it is first needed: quantized alone, how far it moves the
    features of the first picture.
    """
    yield Attempt(quantized(()), ())
    # Query, key and value projections share their activations, and so what quantizing does to them.
    groups: dict[str, list[str]] = {}
    for linear in find_linears(exact):
        groups.setdefault(linear.source, []).append(linear.name)
    everything = {name for names in groups.values() for name in names}
    expected = _features(exact, inputs[0], "fp32")
    moved = {
        group: _distance(_features(quantized(everything.difference(names)), inputs[0], precision), expected)
        for group, names in groups.items()
    }
    worst_first = sorted(groups, key=lambda group: -moved[group])
    kept = 1
    while kept <= _MOST_KEPT * len(groups):
        names = tuple(name for group in worst_first[:kept] for name in groups[group])
        yield Attempt(quantized(names), names)
        kept = max(kept + 1, kept * 3 // 2)


def _observed(model: onnx.ModelProto, inputs: Sequence[dict[str, Array]]) -> dict[str, Activations]:
    return observe(model, [linear.source for linear in find_linears(model)], inputs)


def rest_in_half(model: onnx.ModelProto, too_large: Collection[str]) -> onnx.ModelProto:
    """The rest in float16; changes what opset the graph declares."""
    (declared,) = [entry for entry in model.opset_import if entry.domain == ""]
    declared.version = max(declared.version, _OPSET_OF_HALF_SCALES)
    return to_half(model, too_large)


def _features(
    model: onnx.ModelProto, inputs: dict[str, Array], precision: EnginePrecision
) -> list[NDArray[np.float32]]:
    options = EngineOptions(precision=precision)
    with create_engine(model.SerializeToString(), "onnxruntime", options) as engine:
        return [np.asarray(output, np.float32) for output in engine.run(inputs).values()]


def _distance(found: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> float:
    """Mean over the outputs of the relative distance."""
    return float(
        np.mean(
            [
                np.linalg.norm(one - other) / max(float(np.linalg.norm(other)), 1e-12)
                for one, other in zip(found, expected, strict=True)
            ]
        )
    )
