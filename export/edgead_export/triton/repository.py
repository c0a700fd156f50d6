"""Writing a model repository: one folder a model, ``NAME/config.pbtxt`` and ``NAME/1/`` with what is served.

Nothing here needs torch. A model's folder appears whole or not at all, and other models of the repository are
not touched, so a server that is running can be told to load the new one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
from edgead_runtime import Detector, EncoderBundle, frame_graph
from edgead_runtime.files import atomic_folder
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.building import check_precision
from edgead_runtime.tensorrt.record import EngineParity

from edgead_export.errors import TritonError
from edgead_export.fusing import fuse
from edgead_export.triton.baking import OUTPUTS, bake, check_bakeable, constants_of
from edgead_export.triton.checking import ServedParity, check_served, require_same
from edgead_export.triton.config import (
    BACKENDS,
    CONFIG_NAME,
    Backend,
    ServedModel,
    WarmUp,
    tensors_of,
    write_config,
)
from edgead_export.triton.facts import facts_of_detector, facts_of_encoder
from edgead_export.triton.planning import build_detector_plan, build_encoder_plan, check_can_plan
from edgead_export.triton.python_backend import python_model

Say = Callable[[str], None]
VERSION = "1"
"""The only version of each model; another export of it replaces the folder."""
_FILE_PRECISIONS = ("fp32", "fp16", "int8")
_ON_GPUS_ALONE = ("fp8",)
"""With the TensorRT backend. A bf16 file is none of them: nothing here could compare it with the detector."""
_OPENVINO_BF16 = (
    "Triton's OpenVINO backend computes in bfloat16 on processors that have it, and has no setting against "
    "that: scores then move by about 2 %. On such a machine take --backend onnxruntime."
)


@dataclass(frozen=True)
class ServingOptions:
    """How models are to be served."""

    backend: Backend = "onnxruntime"
    precision: Precision = "fp32"
    instances: int = 1
    """Copies that run at the same time; each holds the weights once more."""
    max_batch: int = 8
    """Most requests that Triton joins for an encoder whose batch was left open."""
    overwrite: bool = False


@dataclass(frozen=True)
class WrittenModel:
    """A model that was written into a repository."""

    path: Path
    model: ServedModel
    parity: ServedParity | None
    """How far the file is from the detector; ``None`` where it is the encoder's own file."""
    plan_parity: ServedParity | EngineParity | None = None
    """Of a TensorRT plan: how far that is from the detector, or from the encoder in ONNX Runtime."""

    def lines(self) -> list[str]:
        """What to tell the person who asked for it."""
        said = [
            f"Wrote the model '{self.model.name}' for Triton's {self.model.backend} backend: {self.path}."
        ]
        if self.parity is not None:
            said.append(
                f"  On {self.parity.pictures} pictures it gives what the detector gives: scores within "
                f"{self.parity.score_error:.1e}, maps {self.parity.map_error:.1e} ({self.parity.engine})."
            )
        plan = self.plan_parity
        if isinstance(plan, ServedParity):
            said.append(
                f"  So does the plan, in {plan.engine}: scores within {plan.score_error:.1e}, maps "
                f"{plan.map_error:.1e}."
            )
        elif plan is not None:
            said.append(
                f"  On {plan.pictures} pictures the plan agrees with ONNX Runtime in fp32: {plan.figures()}."
            )
        return said


def check_options(options: ServingOptions) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        TritonError: An option is out of range, or they contradict each other.
        EngineUnavailableError: A TensorRT plan is asked for where there is no TensorRT or GPU.
    """
    if options.backend not in BACKENDS:
        raise TritonError(
            f"Triton is not served through '{options.backend}'", f"Choose: {', '.join(BACKENDS)}."
        )
    served = _FILE_PRECISIONS + (_ON_GPUS_ALONE if options.backend == "tensorrt" else ())
    if options.backend != "python" and options.precision not in served:
        raise TritonError(
            f"Triton's {options.backend} backend is not given {options.precision} files",
            f"Choose {', '.join(served)}, or --backend python.",
        )
    if options.instances < 1 or options.max_batch < 1:
        raise TritonError("instances and batches start at 1", "Give larger numbers.")
    if options.backend == "tensorrt":
        check_can_plan()


def detector_name(path: Path) -> str:
    """Of the model that a detector's file becomes."""
    return _model_name(path.stem)


def encoder_names(folder: Path) -> tuple[str, str]:
    """Of the models that an encoder bundle becomes: the encoder and its frame graph."""
    base = _model_name(folder.resolve().name)
    return f"{base}_encoder", f"{base}_frame"


def _model_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).lstrip(".") or "edgead"


def serve_detector(
    path: Path, repository: Path, options: ServingOptions, *, stage: Say = lambda _: None
) -> WrittenModel:
    """Write a detector as a model with one input.

    Args:
        path: The ``.edgead`` file.
        repository: The folder that Triton is started with; other models in it stay.
        options: How.
        stage: Called with what begins now.

    Raises:
        TritonError: The detector cannot be served in this way, or the file does not give what it gives.
        EdgeadError: Detector or encoder cannot be loaded, or the folder not written.
    """
    check_options(options)
    stage("loading the detector")
    name = detector_name(path)
    engine = _judge_of(options)
    # The Python backend loads it on the server, in a precision that this machine need not have.
    precision: Precision = "fp32" if options.backend == "python" else options.precision
    with Detector.load(path, engine=engine, precision=precision, index="exact") as detector:
        if options.backend == "python":
            if options.precision != "bf16":  # which is no file
                detector.encoder.manifest.file(options.precision)
            model, script = python_model(name, detector, options.instances, options.precision)
            with _model_folder(repository, model, options) as folder:
                (folder / model.file_name).write_text(script, encoding="utf-8")
                detector.save(folder / "detector.edgead", self_contained=True)
            return WrittenModel(repository / name, model, None)
        _check_file(detector.encoder.bundle, options)
        check_bakeable(detector)
        frame_hw = _one_frame_size(detector)
        stage("baking")
        graph = bake(
            _frame_model(detector.encoder.bundle, options.precision), constants_of(detector, frame_hw)
        )
        data = _finish(graph, name)
        stage("comparing")
        parity = check_served(data, detector, frame_hw, engine)
        require_same(parity)
        model = _served(
            name,
            graph,
            options,
            facts={
                **facts_of_encoder(detector.encoder.manifest, data),
                **facts_of_detector(detector, frame_hw),
            },
            random=frozenset({frame_graph.FRAME}),
        )
        content, plan_parity = data, None
        if options.backend == "tensorrt":
            stage("building the engine")
            content, plan_parity = build_detector_plan(data, detector, frame_hw, options.precision)
    with _model_folder(repository, model, options) as folder:
        (folder / model.file_name).write_bytes(content)
    return WrittenModel(repository / name, model, parity, plan_parity)


def serve_encoder(
    bundle_folder: Path, repository: Path, options: ServingOptions, *, stage: Say = lambda _: None
) -> list[WrittenModel]:
    """Write an encoder bundle: its encoder, and its frame graph with the bank as an input.

    Args:
        bundle_folder: Written by ``edgead export``.
        repository: The folder that Triton is started with; other models in it stay.
        options: How.
        stage: Called with what begins now.

    Raises:
        TritonError: It cannot be served in this way.
        EngineBuildError: A plan does not compute what the encoder computes.
        EdgeadError: The bundle is damaged, has no file of the precision, or the folder cannot be written.
    """
    check_options(options)
    if options.backend == "python":
        raise TritonError(
            "the Python backend runs a detector, and an encoder alone is none", "Add --detector part.edgead."
        )
    bundle = EncoderBundle.open(bundle_folder)
    _check_file(bundle, options)
    encoder_name, frame_name = encoder_names(bundle_folder)
    manifest = bundle.manifest
    batched = manifest.input.dynamic_batch and options.backend != "openvino"
    contents = {encoder_name: bundle.read_model(options.precision)}
    if manifest.frame_of(options.precision) is not None:
        contents[frame_name] = bundle.read_frame_graph(options.precision)
    written = []
    for name, data in contents.items():
        joins = batched and name == encoder_name
        model = _served(
            name,
            onnx.load_from_string(data),
            options,
            facts=facts_of_encoder(manifest, data),
            random=frozenset({frame_graph.FRAME, manifest.input.name}),
            max_batch=options.max_batch if joins else 0,
        )
        content, plan_parity = data, None
        if options.backend == "tensorrt":
            stage(f"building the engine of {name}")
            graph: Literal["encoder", "frame"] = "encoder" if name == encoder_name else "frame"
            content, plan_parity = build_encoder_plan(data, bundle, graph, options.precision, model.max_batch)
        with _model_folder(repository, model, options) as folder:
            (folder / model.file_name).write_bytes(content)
        written.append(WrittenModel(repository / name, model, None, plan_parity))
    return written


@contextlib.contextmanager
def _model_folder(repository: Path, model: ServedModel, options: ServingOptions) -> Iterator[Path]:
    """The version's folder of a model, to be filled; the config is written beside it."""
    with atomic_folder(repository / model.name, overwrite=options.overwrite) as folder:
        (folder / CONFIG_NAME).write_text(write_config(model), encoding="utf-8")
        (folder / VERSION).mkdir()
        yield folder / VERSION


def remarks(options: ServingOptions) -> tuple[str, ...]:
    """What a person should know of a backend."""
    return (_OPENVINO_BF16,) if options.backend == "openvino" else ()


def _check_file(bundle: EncoderBundle, options: ServingOptions) -> None:
    if options.backend == "tensorrt":
        check_precision(bundle, options.precision)


def _judge_of(options: ServingOptions) -> str:
    """The engine that the file is compared in: the backend's own where it can run here."""
    if options.backend == "python":
        return "auto"
    # The plan of a GPU is compared with ONNX Runtime in its turn, when it is built.
    return "onnxruntime" if options.backend == "tensorrt" else options.backend


def _one_frame_size(detector: Detector) -> tuple[int, int]:
    sizes = {reference.frame_hw for reference in detector.references}
    if len(sizes) > 1:
        raise TritonError(
            f"the good pictures have {len(sizes)} sizes, so that no one map lies over all frames",
            "Serve it with --backend python, or enrol with pictures of the camera's own size.",
        )
    return next(iter(sizes))


def _frame_model(bundle: EncoderBundle, precision: Precision) -> onnx.ModelProto:
    """The bundle's frame graph, or one made here where it was exported without."""
    if bundle.manifest.frame_of(precision) is not None:
        return onnx.load_from_string(bundle.read_frame_graph(precision))
    if precision != "fp32":
        raise TritonError(
            f"the encoder has no frame graph in {precision}, which would have to be compared first",
            f"Export it with --fuse --precision {precision}.",
        )
    return fuse(onnx.load_from_string(bundle.read_model()), bundle.manifest)


def _finish(graph: onnx.ModelProto, name: str) -> bytes:
    said = {entry.key: entry.value for entry in graph.metadata_props}
    onnx.helper.set_model_props(graph, {**said, "edgead.graph": "detector", "edgead.detector": name})
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TritonError(
            f"the baked graph is not valid ONNX ({str(error).splitlines()[0]})", "Report this."
        ) from error
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


def _served(
    name: str,
    graph: onnx.ModelProto,
    options: ServingOptions,
    *,
    facts: Mapping[str, str],
    random: frozenset[str],
    max_batch: int = 0,
) -> ServedModel:
    inputs, outputs = tensors_of(graph, batched=max_batch > 0)
    # What is left open is warmed up at its smallest: a bank of one block, a map of one pixel, one picture.
    shapes = {tensor.name: tuple(max(size, 1) for size in tensor.dims) for tensor in inputs}
    by_name = {tensor.name: tensor for tensor in outputs}
    if set(OUTPUTS) <= set(by_name):  # the one that is asked for first, first
        outputs = tuple(by_name[output] for output in OUTPUTS)
    return ServedModel(
        name=name,
        backend=options.backend,
        inputs=inputs,
        outputs=outputs,
        warm_up=WarmUp(shapes, frozenset(tensor.name for tensor in inputs) & random),
        instances=options.instances,
        max_batch=max_batch,
        facts=facts,
    )
