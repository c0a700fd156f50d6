"""OpenVINO as an engine: usually the fastest on an x86 CPU, and the one that knows bfloat16."""

from __future__ import annotations

import io
import queue
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
import openvino as ov
from openvino import opset13 as opset
from openvino import properties
from openvino.properties import hint

from edgead_runtime.engines.openvino_search import search_coarsely
from edgead_runtime.engines.protocol import Array, EngineOptions, Uploaded
from edgead_runtime.errors import BundleError, EngineUnavailableError

_FloatPrecision = Literal["fp32", "bf16"]
_ELEMENT = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}
_SUFFIX = {"fp32": "", "bf16": "/bf16", "int8": "/int8"}


class OpenVinoEngine:
    """One graph. ``run`` may be called from several threads: each call has requests of its own."""

    def __init__(self, model: bytes, options: EngineOptions) -> None:
        core = ov.Core()
        # Of what is not int8 in the file, where it has such layers.
        in_bf16 = options.precision == "bf16" or (options.precision == "int8" and options.rest_in_bf16)
        if in_bf16 and not has_bf16():
            raise EngineUnavailableError("this CPU has no bfloat16", "Leave the precision at fp32.")
        floats: _FloatPrecision = "bf16" if in_bf16 else "fp32"
        settings: dict[Any, Any] = {hint.performance_mode: hint.PerformanceMode.LATENCY}
        if options.threads is not None:
            settings[properties.inference_num_threads] = options.threads
        try:
            graph = core.read_model(io.BytesIO(model))
            # The precision is one for a whole graph: what has to stay exact becomes a graph of its own.
            exact = options.exact_after if in_bf16 else ()
            graphs: list[tuple[Any, _FloatPrecision]] = [(graph, floats)]
            if exact:
                graph, rest = _cut(graph, exact)
                search_coarsely(rest)
                graphs = [(graph, floats), (rest, "fp32")]
            self._parts = tuple(_Part(core, *of_part, settings) for of_part in graphs)
        except RuntimeError as error:
            raise BundleError(
                f"OpenVINO cannot load the graph ({str(error).strip().splitlines()[-1]})",
                "Export the encoder again.",
            ) from error
        self.name = (
            "openvino/cpu" + _SUFFIX[options.precision] + "+bf16" * (options.precision == "int8" and in_bf16)
        )
        self._output_names = [name for part in self._parts for name in part.outputs]
        self._idle: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()

    def upload(self, array: Array) -> Uploaded:
        """The array as a tensor; it stays where it is."""
        return Uploaded(_tensor(array))

    def run(
        self, feeds: Mapping[str, Array | Uploaded], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run once; returns the outputs asked for, or all, by name."""
        parts = self._parts
        if not parts:
            raise EngineUnavailableError("the engine is closed", "Load the encoder or detector again.")
        wanted = self._output_names if outputs is None else outputs
        try:
            requests = self._idle.get_nowait()
        except queue.Empty:
            requests = [part.compiled.create_infer_request() for part in parts]
        tensors = {
            name: fed.native if isinstance(fed, Uploaded) else _tensor(fed) for name, fed in feeds.items()
        }
        results: dict[str, Array] = {}
        for part, request in zip(parts, requests, strict=True):
            if results and len(results) == len(wanted):
                break  # nothing of what follows was asked for
            request.infer({name: tensors[name] for name in part.inputs})
            for index, name in enumerate(part.outputs):
                tensors[name] = request.get_output_tensor(index)
                if name in wanted:
                    # Copied out: the request's own memory is overwritten by whoever takes it next.
                    results[name] = np.array(tensors[name].data)
        if self._parts is parts:  # not closed meanwhile: requests keep the graph alive
            self._idle.put(requests)
        return results

    def close(self) -> None:
        """Drop the graph."""
        self._idle = queue.SimpleQueue()
        self._parts = ()

    def __enter__(self) -> OpenVinoEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def has_bf16() -> bool:
    """Whether the processor has bfloat16, as far as OpenVINO knows."""
    return "BF16" in ov.Core().get_property("CPU", properties.device.capabilities)


class _Part:
    """One compiled graph, with the names of what goes in and comes out."""

    def __init__(self, core: Any, graph: Any, precision: _FloatPrecision, settings: dict[Any, Any]) -> None:
        # Left to itself OpenVINO takes bfloat16 where it can, and the numbers change without a word.
        asked = _ELEMENT[precision]
        # Asked before compiling, which may add the names of what it found to be the same tensor.
        self.inputs = [entry.get_any_name() for entry in graph.inputs]
        self.outputs = [entry.get_any_name() for entry in graph.outputs]
        self.compiled: Any = core.compile_model(graph, "CPU", {**settings, hint.inference_precision: asked})
        actual = self.compiled.get_property(hint.inference_precision)
        if actual != asked:
            raise EngineUnavailableError(
                f"asked for {precision}, OpenVINO would run in {actual.get_type_name()}",
                "Leave the precision at fp32.",
            )


def _cut(graph: Any, names: Sequence[str]) -> tuple[Any, Any]:
    """Two graphs of one: up to the outputs of these names, and what is made from them.

    The second takes these outputs as inputs of the same names.
    """
    inlets = set()
    for name in names:
        source = graph.output(name).get_node().input_value(0)
        inlet = opset.parameter(source.get_partial_shape(), source.get_element_type())
        inlet.output(0).get_tensor().set_names({name})
        for target in source.get_target_inputs():
            if target.get_node().get_type_name() != "Result":
                target.replace_source_output(inlet.output(0))
        inlets.add(inlet)
    parameters = {result: _parameters(result) for result in graph.get_results()}
    parts = []
    for after in (False, True):
        results = [result for result, found in parameters.items() if bool(found & inlets) == after]
        needed = set().union(*(parameters[result] for result in results))
        parts.append(ov.Model(results, list(needed)))
    return parts[0], parts[1]


def _parameters(node: Any) -> set[Any]:
    """The inputs of the graph that a node is made from."""
    seen, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [value.get_node() for value in node.input_values()]
    return {node for node in seen if node.get_type_name() == "Parameter"}


def _tensor(array: Array) -> Any:
    """The array as a tensor, without copying it where OpenVINO can take it as it is."""
    return ov.Tensor(np.require(array, requirements=("C", "W")), shared_memory=True)


def create(model: bytes, options: EngineOptions) -> OpenVinoEngine:
    """The engine table's entry point.

    Raises:
        EngineUnavailableError: The precision asked for is not what would run.
        BundleError: The graph cannot be loaded.
    """
    return OpenVinoEngine(model, options)
