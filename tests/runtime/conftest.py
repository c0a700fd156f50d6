"""A mini encoder (one convolution, fixed weights) and synthetic parts, one of them with a defect.

The convolution is no good at seeing, and need not be: parts that look alike get features that are alike, a
pasted defect does not, and everything from the file to the verdict runs in milliseconds.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from edgead_export.fusing import fuse
from edgead_runtime import Detector, Encoder, EncoderBundle, Recipe, get_recipe
from edgead_runtime.frame_graph import block_rows_for
from edgead_runtime.manifest import (
    AttentionOutput,
    EncoderFile,
    EncoderInput,
    EncoderManifest,
    FeatureOutput,
    Fit,
    FrameFile,
    Preprocess,
    Weights,
    encode_manifest,
)
from edgead_runtime.tensorrt import device as device_module
from edgead_runtime.tensorrt.cuda_bindings import CudaBindings
from edgead_runtime.tensorrt.pycuda import PyCuda
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper
from simulated_gpu import SimulatedGpu
from simulated_gpu.cuda import SimulatedCudart
from simulated_gpu.pycuda_driver import SimulatedPyCuda
from simulated_gpu.tensorrt import SimulatedTensorRt

# The same examples on every run, and no clock: what fails on a loaded machine fails everywhere.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

PATCH = 14
DIM = 16
SECOND_DIM = 12


def _model(height: int, width: int, seed: int, second: bool) -> bytes:
    random = np.random.default_rng(seed)
    patches = (height // PATCH) * (width // PATCH)
    constants = {
        "weight": (random.standard_normal((DIM, 3, PATCH, PATCH)) / PATCH).astype(np.float32),
        "bias": random.standard_normal(DIM).astype(np.float32),
        "columns": np.array([0, DIM, patches], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["maps"], strides=[PATCH, PATCH]),
        helper.make_node("Reshape", ["maps", "columns"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["patch_features_1"], perm=[0, 2, 1]),
    ]
    outputs = [("patch_features_1", [1, patches, DIM])]
    if second:
        constants["mix"] = random.standard_normal((DIM, SECOND_DIM)).astype(np.float32)
        nodes += [
            helper.make_node("Relu", ["patch_features_1"], ["bent"]),
            helper.make_node("MatMul", ["bent", "mix"], ["patch_features_2"]),
            helper.make_node("ReduceMean", ["bent"], ["strength"], axes=[2], keepdims=0),
            helper.make_node("Softmax", ["strength"], ["cls_attention"], axis=1),
        ]
        outputs += [("patch_features_2", [1, patches, SECOND_DIM]), ("cls_attention", [1, patches])]
    graph = helper.make_graph(
        nodes,
        "mini",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _build_bundle(
    folder: Path,
    *,
    height: int = 112,
    width: int = 112,
    seed: int = 0,
    second: bool = False,
    fit: Fit = "crop",
    pca_mask_threshold: float | None = None,
) -> Path:
    """Write an encoder bundle; another seed is another encoder, ``second`` adds a layer and attention."""
    model = _model(height, width, seed, second)
    features = [FeatureOutput(name="patch_features_1", layer=1, dim=DIM, final_norm=False)]
    if second:
        features.append(FeatureOutput(name="patch_features_2", layer=2, dim=SECOND_DIM, final_norm=False))
    manifest = EncoderManifest(
        schema_version=1,
        kind="edgead-encoder",
        backbone="mini",
        input=EncoderInput(name="image", height=height, width=width),
        preprocess=Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit=fit),
        patch_size=PATCH,
        features=features,
        attention=AttentionOutput(name="cls_attention", layer=2) if second else None,
        files=[
            EncoderFile(
                precision="fp32",
                path="encoder.onnx",
                sha256=hashlib.sha256(model).hexdigest(),
                bytes=len(model),
            )
        ],
        weights=Weights(source="random", official=False, licence="none", sha256="0" * 64),
        opset=17,
        tools={"onnx": onnx.__version__},
        created="2026-01-01T00:00:00+00:00",
        pca_mask_threshold=pca_mask_threshold,
    )
    folder.mkdir(parents=True)
    (folder / "encoder.onnx").write_bytes(model)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


@pytest.fixture(scope="session")
def build_bundle() -> Callable[..., Path]:
    return _build_bundle


def _fused(bundle: Path, folder: Path) -> Path:
    """A copy of an encoder bundle with a frame graph beside the encoder."""
    opened = EncoderBundle.open(bundle)
    model = fuse(onnx.load_from_string(opened.read_model()), opened.manifest)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    frame = FrameFile(
        precision="fp32",
        path="frame.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        layer=max(feature.layer for feature in opened.manifest.features),
        block_rows=block_rows_for(math.prod(opened.manifest.grid)),
    )
    shutil.copytree(bundle, folder)
    (folder / "frame.onnx").write_bytes(data)
    manifest = msgspec.structs.replace(opened.manifest, frames=[frame])
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


@pytest.fixture(scope="session")
def add_frame_graph() -> Callable[[Path, Path], Path]:
    return _fused


@pytest.fixture(scope="session")
def fused_bundle(mini_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mini_bundle`` with a frame graph."""
    return _fused(mini_bundle, tmp_path_factory.mktemp("encoders") / "mini-fused")


@pytest.fixture(scope="session")
def fused_two_layer_bundle(two_layer_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``two_layer_bundle`` with a frame graph, which searches for layer 2."""
    return _fused(two_layer_bundle, tmp_path_factory.mktemp("encoders") / "two-fused")


@pytest.fixture(scope="session")
def mini_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder bundle of 112 x 112 px, 8 x 8 patches, one layer. Not to be changed: copy it."""
    return _build_bundle(tmp_path_factory.mktemp("encoders") / "mini")


@pytest.fixture(scope="session")
def two_layer_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers 1 and 2, and CLS attention."""
    return _build_bundle(tmp_path_factory.mktemp("encoders") / "two", second=True)


@pytest.fixture(scope="session")
def mini_encoder(mini_bundle: Path) -> Encoder:
    return Encoder.load(mini_bundle, threads=1)


SIDE = 160


def _part(number: int) -> np.ndarray:
    """A textured disc on a dark ground, ``[160, 160, 3]`` BGR; parts differ by light and sensor noise."""
    random = np.random.default_rng(1000 + number)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    disc = (rows - SIDE / 2) ** 2 + (columns - SIDE / 2) ** 2 < (0.33 * SIDE) ** 2
    texture = 150 + 40 * np.sin(rows / 5) * np.cos(columns / 7)
    picture = np.where(disc[:, :, None], texture[:, :, None] * np.array([0.7, 0.9, 1.0]), 25.0)
    picture = picture * random.uniform(0.97, 1.03) + random.normal(0, 2, (SIDE, SIDE, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Defective:
    """A part with a defect and where that is, in pixels."""

    frame: np.ndarray
    x: int
    y: int
    width: int
    height: int


def _defective(number: int) -> Defective:
    frame = _part(number)
    x, y, width, height = 84, 58, 28, 24
    stripes = (np.arange(width) // 3 % 2 * 255).astype(np.uint8)
    frame[y : y + height, x : x + width] = stripes[None, :, None] * np.array([1, 0, 1], np.uint8)
    return Defective(frame, x, y, width, height)


@pytest.fixture(scope="session")
def part() -> Callable[[int], np.ndarray]:
    """A good part by number, made anew each time."""
    return _part


@pytest.fixture(scope="session")
def good_frames() -> list[np.ndarray]:
    return [_part(number) for number in range(6)]


@pytest.fixture(scope="session")
def defective() -> Defective:
    return _defective(90)


@pytest.fixture(scope="session")
def quick() -> Recipe:
    """No rotations, no mask: for tests that are about something else."""
    return get_recipe("anomalydino-informed").with_(mask="off")


@pytest.fixture
def detector(mini_encoder: Encoder, good_frames: list[np.ndarray], quick: Recipe) -> Detector:
    return Detector.enroll(mini_encoder, good_frames[:4], recipe=quick)


@pytest.fixture(scope="session")
def sum_model():
    """``total = left + right``."""
    vector = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("left", "right", "total")
    ]
    graph = helper.make_graph(
        [helper.make_node("Add", ["left", "right"], ["total"])], "sum", vector[:2], vector[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture
def plug_in(monkeypatch):
    """Put a GPU, a TensorRT and a way to reach the GPU into this machine."""

    def plug(gpu, version="10.3.0", through="cuda-bindings"):
        implementation = {
            "cuda-bindings": lambda: CudaBindings.open(SimulatedCudart(gpu)),
            "pycuda": lambda: PyCuda.open(SimulatedPyCuda(gpu)),
        }[through]
        monkeypatch.setattr(device_module, "IMPLEMENTATIONS", {"sys": implementation})
        if gpu is None:
            return None
        module = SimulatedTensorRt(gpu, version)
        monkeypatch.setitem(__import__("sys").modules, "tensorrt", module)
        return module

    return plug


@pytest.fixture
def gpu(plug_in):
    gpu = SimulatedGpu()
    plug_in(gpu)
    return gpu
