"""The encoder: frames in, patch features out; with a frame graph, distances as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgead_runtime import frame_graph
from edgead_runtime.device_frames import DeviceFrame, adopt_frame
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import (
    Array,
    Device,
    Engine,
    EngineOptions,
    Uploaded,
    create_engine,
    default_device,
)
from edgead_runtime.engines.protocol import TakesSoMuch
from edgead_runtime.engines.searches import SearchEngines
from edgead_runtime.errors import BundleError, RecipeError
from edgead_runtime.graph_check import check_graph
from edgead_runtime.images import Frame
from edgead_runtime.manifest import EncoderManifest, FeatureOutput, FrameFile, Precision
from edgead_runtime.precision import plan_execution
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
_SAMPLE_BLOCKS = 8
"""Of the bank that engines are measured with: one reference in eight turns."""


class Encoder:
    """An encoder bundle in an engine. Thread-safe; share one between detectors. A context manager.

    Where the bundle has a frame graph, that is the one graph in the engine: it encodes as well as it
    searches, and the weights are in memory once.
    """

    takes_frame_graph: ClassVar[bool] = True
    """Whether :meth:`load` takes the frame graph of a bundle that has one."""

    def __init__(self, bundle: EncoderBundle, engine: Engine, frame_file: FrameFile | None = None) -> None:
        self.bundle = bundle
        self.manifest: EncoderManifest = bundle.manifest
        self.fingerprint = bundle.manifest.fingerprint()
        self.frame_file = frame_file
        """What the bundle says of the frame graph, where it is that which ``engine`` runs."""
        self.precision: Precision = "fp32"
        """What was asked for; :attr:`engine_name` says how it is computed."""
        self.remarks: tuple[str, ...] = ()
        """What a person should know of how far its precision can be trusted in this engine."""
        self._engine = engine
        self._searches = SearchEngines(engine.name, EngineOptions())
        self.preprocessor = Preprocessor(
            bundle.manifest.input, bundle.manifest.preprocess, bundle.manifest.patch_size
        )
        self._no_search = {} if frame_file is None else _search_inputs(self.manifest, frame_file, blocks=1)

    @classmethod
    def load(
        cls: type[_EncoderT],
        bundle: EncoderBundle | str | Path,
        *,
        engine: str = "auto",
        device: Device | None = None,
        threads: int | None = None,
        precision: Precision = "fp32",
        fused: bool = True,
        rebuild: bool = False,
    ) -> _EncoderT:
        """Load a bundle into an engine.

        Args:
            bundle: A folder written by ``edgead export``, or an open bundle.
            engine: A name of :data:`edgead_runtime.engines.ENGINES`, or ``auto`` for the one that measures
                fastest here.
            device: ``cpu`` or ``cuda``; never replaced silently. ``None`` is the engine's own, and ``cpu``
                where it has several.
            threads: Threads of the engine; ``None`` leaves the choice to it.
            precision: ``int8``, ``fp16`` and ``fp8`` are files of the bundle, where it has them; ``bf16`` is
                the fp32 file in bfloat16, where the processor has it, and for TensorRT a file. Each changes
                the numbers.
            fused: Use the bundle's frame graph where it has one.
            rebuild: Build a TensorRT engine that is missing, or was built for another GPU, version or
                weights; it takes minutes and is logged. The environment variable ``EDGEAD_REBUILD=1`` says
                the same.

        Raises:
            BundleError: The bundle is missing or damaged, or has no file of that precision.
            EngineBuildError: An engine was to be built again, and that failed.
            EngineUnavailableError: No engine for that device is installed, or the precision did not pass the
                gate in the engine asked for.
        """
        opened = bundle if isinstance(bundle, EncoderBundle) else EncoderBundle.open(bundle)
        manifest, entry = opened.manifest, opened.manifest.input
        device = device or default_device(engine)
        place = None if opened.path is None else str(opened.path)
        random = np.random.default_rng(0)
        plan = plan_execution(manifest, precision, engine)
        options = EngineOptions(
            device=device,
            threads=threads,
            precision=plan.engine_precision,
            rest_in_bf16=plan.rest_in_bf16,
            bundle=place,
            rebuild=rebuild,
        )
        frame_file = manifest.frame_of(plan.file.precision) if fused and cls.takes_frame_graph else None
        if frame_file is None:
            model = opened.read(plan.file)
            check_graph(model, manifest, None, f"{plan.file.path} in {opened.source}")
            # Of the size and spread that pictures have: zeros would be faster on some processors.
            noise = random.standard_normal((1, 3, entry.height, entry.width), dtype=np.float32)
            sample: dict[str, Array] = {entry.name: noise}
            loaded = cls(opened, create_engine(model, engine, options, sample, without=plan.without))
            loaded.precision, loaded.remarks = precision, plan.remarks
            loaded._searches = SearchEngines(loaded._engine.name, options)
            return loaded
        (searched,) = (feature.name for feature in manifest.features if feature.layer == frame_file.layer)
        options = replace(options, exact_after=(searched,))
        model = opened.read(frame_file)
        check_graph(model, manifest, frame_file, f"{frame_file.path} in {opened.source}")
        pixels = random.integers(0, 256, (1, entry.height, entry.width, 3), dtype=np.uint8)
        sample = {frame_graph.FRAME: pixels, **_search_inputs(manifest, frame_file, blocks=_SAMPLE_BLOCKS)}
        loaded = cls(opened, create_engine(model, engine, options, sample, without=plan.without), frame_file)
        loaded.precision, loaded.remarks = precision, plan.remarks
        loaded._searches = SearchEngines(loaded._engine.name, options)
        return loaded

    @property
    def engine_name(self) -> str:
        """What really runs, e.g. ``onnxruntime/cpu`` or ``openvino/cpu/int8+bf16``."""
        name = self._engine.name
        # That a file is in float16, TensorRT says itself; to the others it is any graph.
        return name + ("/fp16" if self.precision == "fp16" and not name.endswith("/fp16") else "")

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
            BundleError: The features or the attention are not all finite numbers.
        """
        features = self.feature_outputs(layers)
        wanted = self.output_names(features)
        if self.frame_file is not None:
            outputs = self.run_frame(frame, self._no_search, wanted, timings_ms, stage="encode")
        else:
            outputs = self._run(
                self.manifest.input.name,
                lambda: self.preprocessor(frame)[None],
                {},
                wanted,
                timings_ms,
                "encode",
            )
        return self.features_from(outputs, features)

    def adopt(self, frame: Any) -> DeviceFrame:
        """A frame that is on the GPU already, for :meth:`run_frame`; nothing is copied.

        Args:
            frame: ``[height, width, 3]`` uint8, BGR, of the size of the encoder's input, with
                ``__cuda_array_interface__`` or DLPack's methods. It must not change until the call that it is
                given to has returned.

        Raises:
            PictureError: The encoder does not run a frame graph on a GPU, or it is no such array.
            FrameSizeError: It has another size: frames are resized on the host.
        """
        return adopt_frame(
            frame, self._engine, self.manifest.input, self.engine_name, fused=self.frame_file is not None
        )

    def run_frame(
        self,
        frame: Frame | DeviceFrame,
        feeds: Mapping[str, Array | Uploaded],
        outputs: Sequence[str],
        timings_ms: dict[str, float] | None = None,
        *,
        stage: str = "frame",
    ) -> dict[str, Array]:
        """Run the frame graph on one frame; see :mod:`edgead_runtime.frame_graph`.

        Args:
            frame: ``[H, W, 3]`` uint8, BGR; or what :meth:`adopt` gave.
            feeds: All inputs but the frame.
            outputs: Which outputs are wanted.
            timings_ms: Where given, the milliseconds of ``preprocess`` and ``stage`` are added to it.
            stage: What to call it.
        """

        def prepare() -> Array | Uploaded:
            if isinstance(frame, DeviceFrame):
                return frame.uploaded
            return self.preprocessor.resize(frame)[None]

        return self._run(frame_graph.FRAME, prepare, feeds, outputs, timings_ms, stage)

    def upload(self, array: Array) -> Uploaded:
        """See :meth:`edgead_runtime.engines.Engine.upload`."""
        return self._engine.upload(array)

    def check_size(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse an input that is larger than the engine takes, before anything relies on it.

        Args:
            name: Of the input.
            shape: What it is to be fed.

        Raises:
            EngineUnavailableError: With how to get an engine that takes it.
        """
        if isinstance(self._engine, TakesSoMuch):
            self._engine.check_size(name, shape)

    def search_engine(self, dim: int, neighbours: int) -> Engine:
        """The engine that searches banks for this encoder's patches, of the kind that the encoder runs in.

        It is made once and closed with the encoder; in float32 whatever the encoder's precision.

        Args:
            dim: Size of a feature.
            neighbours: How many of the nearest are wanted.

        Raises:
            EngineUnavailableError: It has to be built first, and was not.
        """
        return self._searches.opened(dim, neighbours)

    def output_names(self, features: Sequence[FeatureOutput]) -> list[str]:
        """The outputs that :meth:`features_from` needs."""
        attention = self.manifest.attention
        return [*(feature.name for feature in features), *([] if attention is None else [attention.name])]

    def features_from(self, outputs: Mapping[str, Array], features: Sequence[FeatureOutput]) -> PatchFeatures:
        """Patch features (and attention, where the encoder has it) among the outputs of a run.

        Raises:
            BundleError: The features or the attention are not all finite numbers.
        """
        tokens = tuple(outputs[feature.name][0].astype(np.float32, copy=False) for feature in features)
        self.check_finite(*tokens)
        attention = None
        if self.manifest.attention is not None:
            attention = outputs[self.manifest.attention.name][0].astype(np.float32, copy=False)
            self.check_finite(attention)  # a mask of it would hide every patch
        return PatchFeatures(layers=tokens, grid=self.manifest.grid, attention=attention)

    def check_finite(self, *numbers: Array) -> None:
        """Refuse what a broken encoder says.

        Raises:
            BundleError: There is something that is no finite number.
        """
        if not all(np.isfinite(part).all() for part in numbers):
            # A score that is not a number is above no threshold: it would pass as good.
            raise BundleError(
                f"the encoder in {self.bundle.source} gives features that are not numbers",
                "Export the encoder again; a smaller precision may have overflowed.",
            )

    def _run(
        self,
        input_name: str,
        prepare: Callable[[], Array | Uploaded],
        feeds: Mapping[str, Array | Uploaded],
        outputs: Sequence[str],
        timings_ms: dict[str, float] | None,
        stage: str,
    ) -> dict[str, Array]:
        start = time.perf_counter()
        tensor = prepare()
        prepared = time.perf_counter()
        found = self._engine.run({**feeds, input_name: tensor}, outputs)
        if timings_ms is not None:
            for name, ms in (("preprocess", prepared - start), (stage, time.perf_counter() - prepared)):
                timings_ms[name] = timings_ms.get(name, 0.0) + ms * 1e3
        return found

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()
        self._searches.close()

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _search_inputs(manifest: EncoderManifest, frame_file: FrameFile, blocks: int) -> dict[str, Array]:
    """The frame graph's inputs but the frame, with a bank of as many blocks of nothing."""
    (dim,) = (feature.dim for feature in manifest.features if feature.layer == frame_file.layer)
    return {
        frame_graph.BANK: np.zeros((blocks, frame_file.block_rows, dim), np.float32),
        frame_graph.BANK_BIAS: np.zeros((blocks, 1), np.float32),
        frame_graph.PATCH_WEIGHTS: np.ones(manifest.grid, np.float32),
        **frame_graph.no_map(manifest.grid),
    }
