"""ONNX Runtime as an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

import numpy as np
import onnxruntime as ort

from edgead_runtime.engines.protocol import Array, EngineOptions, Uploaded
from edgead_runtime.errors import BundleError, EngineUnavailableError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_LOG_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """One ONNX Runtime session. ``run`` may be called from several threads."""

    def __init__(self, model: bytes, options: EngineOptions) -> None:
        provider = _PROVIDERS[options.device]
        if provider not in ort.get_available_providers():
            raise EngineUnavailableError(
                f"this onnxruntime has no {provider}",
                'Install a build that has it (pip install "edgead-runtime[gpu]"), or use device="cpu".',
            )
        session_options = ort.SessionOptions()
        session_options.log_severity_level = _LOG_ERRORS_ONLY
        if options.threads is not None:
            session_options.intra_op_num_threads = options.threads
        # Idle threads that spin take the cores from the search that follows (README, "Measured").
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if options.precision == "fp8":
            # Operators that it joins to are for int8 alone, and it joins to them here too: the file would not
            # load. So each operator is computed as the file says.
            session_options.add_session_config_entry("session.disable_quant_qdq", "1")
        # This fusion makes Gemm, which has no int8 kernel here: the products would be in float32.
        disabled = {"disabled_optimizers": ["MatMulAddFusion"]} if options.precision == "int8" else {}
        try:
            self._session = ort.InferenceSession(
                model, sess_options=session_options, providers=[provider], **disabled
            )
        except Exception as error:  # onnxruntime raises a family of unrelated native types
            raise BundleError(
                f"onnxruntime cannot load the graph ({str(error).splitlines()[0]})",
                "Export the encoder again.",
            ) from error
        actual = self._session.get_providers()
        if actual[0] != provider:
            # A CUDA build without its libraries falls back to the CPU with no more than a log line.
            raise EngineUnavailableError(
                f"asked for {provider}, onnxruntime would run on {actual[0]}",
                "Install the CUDA and cuDNN versions that this onnxruntime needs.",
            )
        quantized = options.precision in ("int8", "fp8")
        self.name = f"onnxruntime/{options.device}" + (f"/{options.precision}" if quantized else "")
        self._device = options.device
        self._output_names = [output.name for output in self._session.get_outputs()]

    def upload(self, array: Array) -> Uploaded:
        """Put ``array`` on the device; on the CPU it stays where it is."""
        return Uploaded(ort.OrtValue.ortvalue_from_numpy(array, self._device))

    def run(
        self, feeds: Mapping[str, Array | Uploaded], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run once; returns the outputs asked for, or all, by name."""
        session = self._session
        if session is None:
            raise EngineUnavailableError("the engine is closed", "Load the encoder or detector again.")
        wanted = self._output_names if outputs is None else list(outputs)
        values = {
            name: fed.native
            if isinstance(fed, Uploaded)
            else ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(fed))
            for name, fed in feeds.items()
        }
        results = session.run_with_ort_values(wanted, values)
        return {name: value.numpy() for name, value in zip(wanted, results, strict=True)}

    def close(self) -> None:
        """Drop the session."""
        self._session = None

    def __enter__(self) -> OnnxRuntimeEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def create(model: bytes, options: EngineOptions) -> OnnxRuntimeEngine:
    """The engine table's entry point.

    Raises:
        EngineUnavailableError: The device asked for is not what would run.
        BundleError: The graph cannot be loaded.
    """
    return OnnxRuntimeEngine(model, options)
