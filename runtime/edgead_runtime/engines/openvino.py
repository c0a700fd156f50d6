"""OpenVINO as an engine: usually the fastest on an x86 CPU, and the one that knows bfloat16."""

from __future__ import annotations

import io
import queue
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import openvino as ov
from openvino import properties
from openvino.properties import hint

from edgead_runtime.engines.protocol import Array, EngineOptions
from edgead_runtime.errors import BundleError, EngineUnavailableError

_ELEMENT = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}


class OpenVinoEngine:
    """One compiled graph. ``run`` may be called from several threads: each call has a request of its own."""

    def __init__(self, model: bytes, options: EngineOptions) -> None:
        core = ov.Core()
        if options.precision == "bf16" and "BF16" not in core.get_property(
            "CPU", properties.device.capabilities
        ):
            raise EngineUnavailableError("this CPU has no bfloat16", "Leave the precision at fp32.")
        # Left to itself OpenVINO takes bfloat16 where it can, and the numbers change without a word.
        settings: dict[Any, Any] = {
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            hint.inference_precision: _ELEMENT[options.precision],
        }
        if options.threads is not None:
            settings[properties.inference_num_threads] = options.threads
        try:
            graph = core.read_model(io.BytesIO(model))
            self._compiled: Any = core.compile_model(graph, "CPU", settings)
        except RuntimeError as error:
            raise BundleError(
                f"OpenVINO cannot load the graph ({str(error).strip().splitlines()[-1]})",
                "Export the encoder again.",
            ) from error
        actual = self._compiled.get_property(hint.inference_precision)
        if actual != _ELEMENT[options.precision]:
            raise EngineUnavailableError(
                f"asked for {options.precision}, OpenVINO would run in {actual.get_type_name()}",
                "Leave the precision at fp32.",
            )
        self.name = "openvino/cpu" if options.precision == "fp32" else f"openvino/cpu/{options.precision}"
        self._output_names = [output.get_any_name() for output in self._compiled.outputs]
        self._bound: dict[str, ov.Tensor] = {}
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def bind(self, name: str, array: Array) -> None:
        """Keep ``array`` as input ``name``; it is not copied."""
        self._bound = {**self._bound, name: _tensor(array)}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; returns every output by name."""
        compiled = self._compiled
        if compiled is None:
            raise EngineUnavailableError("the engine is closed", "Load the encoder or detector again.")
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        fed = {
            name: ov.Tensor(np.ascontiguousarray(array), shared_memory=True) for name, array in feeds.items()
        }
        request.infer({**self._bound, **fed})
        # Copied out: the request's own memory is overwritten by whoever takes it next.
        outputs = {
            name: np.array(request.get_output_tensor(index).data)
            for index, name in enumerate(self._output_names)
        }
        if self._compiled is compiled:  # not closed meanwhile: a request keeps the graph alive
            self._idle.put(request)
        return outputs

    def close(self) -> None:
        """Drop the graph and what was bound."""
        self._bound = {}
        self._idle = queue.SimpleQueue()
        self._compiled = None

    def __enter__(self) -> OpenVinoEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tensor(array: Array) -> Any:
    """The array as a tensor, without copying it."""
    return ov.Tensor(np.ascontiguousarray(array), shared_memory=True)


def create(model: bytes, options: EngineOptions) -> OpenVinoEngine:
    """The engine table's entry point.

    Raises:
        EngineUnavailableError: The precision asked for is not what would run.
        BundleError: The graph cannot be loaded.
    """
    return OpenVinoEngine(model, options)
