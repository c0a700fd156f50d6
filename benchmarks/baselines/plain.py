"""A plain ONNX export in ONNX Runtime or OpenVINO, with OpenCV and NumPy around it, as most people do it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.job import ANGLES, MEAN, PATCH, STD, Clock, Frame, Inspect, Inspected, Job

_SIGMA_PX = 4.0


def make(job: Job, *, engine: str, precision: str = "fp32") -> Inspect:
    """The engine with the options that its own first example has."""
    run = _onnxruntime(job.plain_onnx) if engine == "onnxruntime" else _openvino(job.plain_onnx, precision)
    side = job.resolution // PATCH

    def tensor_of(frame: Frame) -> NDArray[np.float32]:
        rgb = cv2.cvtColor(cv2.resize(frame, (job.resolution, job.resolution)), cv2.COLOR_BGR2RGB)
        normal = (rgb.astype(np.float32) / 255 - MEAN) / STD
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])

    def normalize(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        return tokens / np.linalg.norm(tokens, axis=1, keepdims=True)

    reference = np.asarray(cv2.imread(job.frames[0]), dtype=np.uint8)
    bank = np.concatenate([normalize(run(tensor_of(_turned(reference, angle)))) for angle in ANGLES])

    def inspect(frame: Frame) -> Inspected:
        clock = Clock()
        tensor = tensor_of(frame)
        clock.stage("preprocess")
        tokens = run(tensor)
        clock.stage("encode")
        distances = 1 - (normalize(tokens) @ bank.T).max(axis=1)
        clock.stage("search")
        score = float(np.sort(distances)[-max(1, len(distances) // 100) :].mean())
        clock.stage("score")
        large = cv2.resize(distances.reshape(side, side), frame.shape[1::-1])
        cv2.GaussianBlur(large, (0, 0), _SIGMA_PX)
        clock.stage("map")
        return Inspected(clock.stop(), score, distances)

    return inspect


def _turned(frame: Frame, angle: float) -> Frame:
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turned = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, dtype=np.uint8)


def _onnxruntime(path: str) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: session.run(None, {name: tensor})[0][0]


def _openvino(path: str, precision: str) -> Any:
    import openvino
    from openvino.properties import hint

    kind = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}[precision]
    compiled = openvino.Core().compile_model(path, "CPU", {hint.inference_precision: kind})
    return lambda tensor: compiled(tensor)[0][0]
