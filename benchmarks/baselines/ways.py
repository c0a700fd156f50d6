"""The table of ways. Needs nothing but the standard library: every environment reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Way:
    """One way of doing the work."""

    title: str
    module: str
    """Of this package, with ``make(job, **options) -> Inspect``."""
    options: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    anomalib: bool = False
    """Whether it runs in anomalib's own environment."""


_BF16 = {"precision": "bf16"}

WAYS: dict[str, Way] = {
    "release": Way("AnomalyDINO's release (PyTorch)", "release"),
    "torch-compile": Way("the same, torch.compile", "release", {"compiled": True}),
    "torch-bf16": Way("the same, torch autocast bf16", "release", _BF16, "bf16"),
    "plain-onnxruntime": Way("plain export, ONNX Runtime", "plain", {"engine": "onnxruntime"}),
    "plain-openvino": Way("plain export, OpenVINO f32", "plain", {"engine": "openvino"}),
    "plain-openvino-bf16": Way(
        "plain export, OpenVINO bf16", "plain", {"engine": "openvino", **_BF16}, "bf16"
    ),
    "edgead-onnxruntime": Way("edgead, ONNX Runtime", "ours", {"engine": "onnxruntime"}),
    "edgead-openvino": Way("edgead, OpenVINO", "ours", {"engine": "openvino"}),
    "edgead-openvino-bf16": Way("edgead, OpenVINO bf16", "ours", {"engine": "openvino", **_BF16}, "bf16"),
    "edgead-openvino-bf16-area": Way(
        "edgead, OpenVINO bf16, resized by area",
        "ours",
        {"engine": "openvino", **_BF16, "area": True},
        "bf16",
    ),
    "stages-onnxruntime": Way(
        "edgead by stages, ONNX Runtime", "ours", {"engine": "onnxruntime", "fused": False}
    ),
    "stages-openvino": Way("edgead by stages, OpenVINO", "ours", {"engine": "openvino", "fused": False}),
    "stages-openvino-bf16": Way(
        "edgead by stages, OpenVINO bf16", "ours", {"engine": "openvino", "fused": False, **_BF16}, "bf16"
    ),
    "anomalib-torch": Way("anomalib 2.7, PyTorch", "anomalib_peer", anomalib=True),
    "anomalib-openvino": Way(
        "anomalib 2.7, OpenVINO f32", "anomalib_peer", {"engine": "openvino"}, anomalib=True
    ),
    "anomalib-openvino-bf16": Way(
        "anomalib 2.7, OpenVINO bf16 (its default)",
        "anomalib_peer",
        {"engine": "openvino", **_BF16},
        "bf16",
        anomalib=True,
    ),
}

FLOORS: dict[str, Way] = {
    "gemm": Way("matrix product, fp32", "gemm"),
    "gemm-bf16": Way("matrix product, bf16", "gemm", _BF16, "bf16"),
}
"""Not ways but what they stand on: measured in turns with them, so that the floor is of the same minutes."""
