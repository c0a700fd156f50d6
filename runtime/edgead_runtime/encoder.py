"""The encoder: frames in, patch features out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import Device, Engine, EngineOptions, EnginePrecision, create_engine
from edgead_runtime.errors import BundleError, RecipeError
from edgead_runtime.images import Frame
from edgead_runtime.manifest import EncoderManifest, FeatureOutput
from edgead_runtime.preprocess import Preprocessor
from edgead_runtime.recipe import Layers


@dataclass(frozen=True, eq=False)
class PatchFeatures:
    """What the encoder says of a frame."""

    layers: tuple[NDArray[np.float32], ...]
    """For each layer asked for patch features ``[N, D]`` in raster order, as the backbone gives them (not
    L2-normalized)."""
    grid: tuple[int, int]
    """(rows, columns); N is their product."""
    attention: NDArray[np.float32] | None
    """CLS-to-patch attention ``[N]`` where the encoder has it."""

    @property
    def tokens(self) -> NDArray[np.float32]:
        """Patch features ``[N, D]`` of the last layer asked for."""
        return self.layers[-1]


_EncoderT = TypeVar("_EncoderT", bound="Encoder")


class Encoder:
    """An encoder bundle in an engine. Thread-safe; share one between detectors. A context manager."""

    def __init__(self, bundle: EncoderBundle, engine: Engine) -> None:
        self.bundle = bundle
        self.manifest: EncoderManifest = bundle.manifest
        self.fingerprint = bundle.manifest.fingerprint()
        self._engine = engine
        self.preprocessor = Preprocessor(
            bundle.manifest.input, bundle.manifest.preprocess, bundle.manifest.patch_size
        )

    @classmethod
    def load(
        cls: type[_EncoderT],
        bundle: EncoderBundle | str | Path,
        *,
        engine: str = "auto",
        device: Device = "cpu",
        threads: int | None = None,
        precision: EnginePrecision = "fp32",
    ) -> _EncoderT:
        """Load a bundle into an engine.

        Args:
            bundle: A folder written by ``edgead export``, or an open bundle.
            engine: A name of :data:`edgead_runtime.engines.ENGINES`, or ``auto`` for the one that measures
                fastest here.
            device: ``cpu`` or ``cuda``; never replaced silently.
            threads: Threads of the engine; ``None`` leaves the choice to it.
            precision: ``bf16`` is about twice as fast where the processor has it, and changes the numbers.

        Raises:
            BundleError: The bundle is missing or damaged.
            EngineUnavailableError: No engine for that device is installed.
        """
        opened = bundle if isinstance(bundle, EncoderBundle) else EncoderBundle.open(bundle)
        options = EngineOptions(device=device, threads=threads, precision=precision)
        entry = opened.manifest.input
        # Of the size and spread that pictures have: zeros would be faster on some processors.
        noise = np.random.default_rng(0).standard_normal((1, 3, entry.height, entry.width), dtype=np.float32)
        return cls(opened, create_engine(opened.read_model(), engine, options, {entry.name: noise}))

    @property
    def engine_name(self) -> str:
        """What really runs, e.g. ``onnxruntime/cpu``."""
        return self._engine.name

    def feature_outputs(self, layers: Layers = "deepest") -> tuple[FeatureOutput, ...]:
        """The outputs that have the features of ``layers``.

        Raises:
            RecipeError: The encoder was exported without one of them.
        """
        outputs = {output.layer: output for output in self.manifest.features}
        if layers == "deepest":
            return (outputs[max(outputs)],)
        if layers == "all":
            return tuple(outputs[layer] for layer in sorted(outputs))
        for layer in layers:
            if layer not in outputs:
                have = ", ".join(map(str, sorted(outputs)))
                needed = ",".join(map(str, layers))
                raise RecipeError(
                    f"the encoder has no layer {layer} (it has: {have})",
                    f"Export it again with --layers {needed}.",
                )
        return tuple(outputs[layer] for layer in layers)

    def encode(
        self, frame: Frame, *, layers: Layers = "deepest", timings_ms: dict[str, float] | None = None
    ) -> PatchFeatures:
        """Patch features of one frame.

        Args:
            frame: ``[H, W, 3]`` uint8, BGR.
            layers: Which layers, where the encoder has several.
            timings_ms: Where given, the milliseconds of ``preprocess`` and ``encode`` are added to it.

        Raises:
            RecipeError: The encoder has no such layer.
            BundleError: The features are not all finite numbers.
        """
        features = self.feature_outputs(layers)
        start = time.perf_counter()
        tensor = self.preprocessor(frame)[None]
        prepared = time.perf_counter()
        outputs = self._engine.run({self.manifest.input.name: tensor})
        if timings_ms is not None:
            for stage, ms in (("preprocess", prepared - start), ("encode", time.perf_counter() - prepared)):
                timings_ms[stage] = timings_ms.get(stage, 0.0) + ms * 1e3
        attention = self.manifest.attention
        tokens = tuple(outputs[feature.name][0].astype(np.float32, copy=False) for feature in features)
        if not all(np.isfinite(of_layer).all() for of_layer in tokens):
            # A score that is not a number is above no threshold: it would pass as good.
            raise BundleError(
                f"the encoder in {self.bundle.source} gives features that are not numbers",
                "Export the encoder again; a smaller precision may have overflowed.",
            )
        return PatchFeatures(
            layers=tokens,
            grid=self.manifest.grid,
            attention=None
            if attention is None
            else outputs[attention.name][0].astype(np.float32, copy=False),
        )

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
