"""anomalib's own AnomalyDINO, the real package, in an environment of its own.

Its weights are random: it would fetch timm's, and what they are does not change its speed. What it leaves to
its surroundings, resizing and a map of the frame's size, is done with OpenCV; ``model`` is its graph alone.
It takes neither rotations nor, exported, its mask; the bank is filled with the eight views all the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import timm
import torch
from anomalib.models.image.anomaly_dino.torch_model import AnomalyDINOModel
from numpy.typing import NDArray

from benchmarks.baselines.job import ANGLES, MEAN, STD, Clock, Frame, Inspect, Inspected, Job


def make(job: Job, *, engine: str = "torch", precision: str = "fp32") -> Inspect:
    """The torch model, or its export in OpenVINO."""
    create = timm.create_model

    def without_download(*arguments: Any, **options: Any) -> Any:
        return create(*arguments, **{**options, "pretrained": False})

    with mock.patch.object(timm, "create_model", without_download):
        model = AnomalyDINOModel(encoder_name="vit_small_patch14_dinov2")

    def tensor_of(frame: Frame) -> NDArray[np.float32]:
        rgb = cv2.cvtColor(cv2.resize(frame, (job.resolution, job.resolution)), cv2.COLOR_BGR2RGB)
        normal = (rgb.astype(np.float32) / 255 - MEAN) / STD
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])

    reference = np.asarray(cv2.imread(job.frames[0]), dtype=np.uint8)
    height, width = reference.shape[:2]
    model.train()
    with torch.no_grad():
        for angle in ANGLES:
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
            view = cv2.warpAffine(reference, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
            model(torch.from_numpy(tensor_of(np.asarray(view, dtype=np.uint8))))
    model.fit()
    model.eval()
    run = _torch(model) if engine == "torch" else _openvino(model, job.resolution, precision)

    def inspect(frame: Frame) -> Inspected:
        clock = Clock()
        tensor = tensor_of(frame)
        clock.stage("preprocess")
        score, small = run(tensor)
        clock.stage("model")
        cv2.resize(small, frame.shape[1::-1])
        clock.stage("map")
        return Inspected(clock.stop(), score)

    return inspect


def _torch(model: Any) -> Any:
    def run(tensor: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        with torch.inference_mode():
            found = model(torch.from_numpy(tensor))
        return float(found.pred_score), found.anomaly_map[0, 0].numpy()

    return run


def _openvino(model: Any, resolution: int, precision: str) -> Any:
    import openvino
    from openvino.properties import hint

    example = torch.zeros(1, 3, resolution, resolution)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # anomalib's own export is by the same exporter, with its pre- and post-processing around.
        torch.onnx.export(
            model, (example,), str(path), dynamo=True, output_names=["score", "map"], verbose=False
        )
        graph = openvino.convert_model(path)
    kind = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}[precision]
    compiled = openvino.Core().compile_model(graph, "CPU", {hint.inference_precision: kind})
    by_size = sorted(
        range(len(compiled.outputs)), key=lambda index: compiled.output(index).partial_shape.rank.get_length()
    )

    def run(tensor: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        found = compiled(tensor)
        score, small = (found[index] for index in by_size)
        return float(np.ravel(score)[0]), small[0, 0]

    return run
