"""ONNX Runtime on a provider of one's choice, as people use it: the default options, the file as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from edgead_runtime.engines import Array, Device, Uploaded
from edgead_runtime.errors import EngineUnavailableError

from benchmarks.gpu.turns import Run, timed

CUDA, TENSORRT, CPU = (f"{name}ExecutionProvider" for name in ("CUDA", "Tensorrt", "CPU"))
TITLES = {CUDA: "ONNX Runtime, CUDA", TENSORRT: "ONNX Runtime, TensorRT", CPU: "ONNX Runtime, CPU"}
_WARNINGS = 3
"""And less than that is not shown."""


def tensorrt_options(scratch: Path, precision: str) -> dict[str, str]:
    """Of the TensorRT provider: the fp32 file, with its switch for fp16, as people ask it for that.

    Args:
        scratch: Where it keeps what it has built, so that the same graph is built once.
        precision: ``fp32`` or ``fp16``.
    """
    folder = scratch / "provider"
    folder.mkdir(exist_ok=True)
    return {
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
    }


class ProviderSession:
    """One session. It is an :class:`edgead_runtime.engines.Engine` too, so that a detector can run in it.

    Raises:
        EngineUnavailableError: The provider is not there, or would not run: ONNX Runtime goes on without it
            then, with a line in its log.
    """

    def __init__(self, model: bytes, provider: str, options: Mapping[str, str] | None = None) -> None:
        import onnxruntime as ort

        if provider not in ort.get_available_providers():
            raise EngineUnavailableError(
                f"this onnxruntime has no {provider}", 'Install one that has: "edgead-runtime[gpu]".'
            )
        # What TensorRT does not take goes to CUDA, as the documentation of the provider has it.
        behind = [CUDA] if provider == TENSORRT else []
        settings = ort.SessionOptions()
        settings.log_severity_level = _WARNINGS
        self._session = ort.InferenceSession(
            model, settings, providers=[(provider, dict(options or {})), *behind]
        )
        actual = self._session.get_providers()[0]
        if actual != provider:
            raise EngineUnavailableError(
                f"asked for {provider}, onnxruntime would run on {actual}",
                "Install the libraries that it needs.",
            )
        self._device: Device = "cpu" if provider == CPU else "cuda"
        self._values = ort.OrtValue
        self.name = f"onnxruntime/{provider}"

    def upload(self, array: Array) -> Uploaded:
        """Put an array where the session runs."""
        return Uploaded(self._values.ortvalue_from_numpy(array, self._device))

    def run(
        self, feeds: Mapping[str, Array | Uploaded], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run once; the outputs asked for, or all, by name."""
        wanted = [output.name for output in self._session.get_outputs()] if outputs is None else list(outputs)
        values = {
            name: fed.native
            if isinstance(fed, Uploaded)
            else self._values.ortvalue_from_numpy(np.ascontiguousarray(fed))
            for name, fed in feeds.items()
        }
        found = self._session.run_with_ort_values(wanted, values)
        return {name: value.numpy() for name, value in zip(wanted, found, strict=True)}

    def resident(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> Run:
        """Runs whose inputs lie on the device and whose outputs stay there.

        Its streams are its own, so the clock is the host's; a run ends when the device is done.
        """
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, self.upload(array).native)
        for name in outputs:
            binding.bind_output(name, self._device)
        return lambda: timed(lambda: self._session.run_with_iobinding(binding))

    def close(self) -> None:
        """Drop the session."""
        self._session = None

    def __enter__(self) -> ProviderSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
