"""The GPU benchmark on a processor: PyTorch beside ONNX Runtime, on a tiny encoder with real files."""

import json

import numpy as np
import pytest
from edgead_export.backbones import BACKBONES
from edgead_export.export import ExportOptions, export_encoder
from edgead_runtime import Detector, Encoder, EncoderBundle, get_recipe
from edgead_runtime.doctor import machine
from edgead_runtime.tensorrt import device as device_module
from safetensors.torch import save_file

from benchmarks.gpu import __main__ as benchmark
from benchmarks.gpu import sdpa
from benchmarks.gpu.job import frames_of, random_picture


@pytest.fixture(scope="module")
def exported(tiny, random_state, tmp_path_factory):
    """A tiny bundle with a frame graph, for any batch, and the file of the weights it is made of."""
    folder = tmp_path_factory.mktemp("tiny")
    weights = str(folder / "tiny.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "dinov2_s", tiny("dinov2_s"))
        save_file(random_state(BACKBONES["dinov2_s"]), weights)
        options = ExportOptions(
            "dinov2_s",
            folder / "out",
            "56",
            layers=(2, 3),
            attention=True,
            weights=weights,
            dynamic_batch=True,
            fuse=True,
        )
        export_encoder(options)
        yield options.out, weights


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(device_module, "IMPLEMENTATIONS", {})


def test_torch_gives_what_onnx_runtime_gives(exported):
    folder, weights = exported
    bundle = EncoderBundle.open(folder)
    frames, recipe = frames_of(5, 120), get_recipe("anomalydino-informed").with_(mask="off")
    with (
        sdpa.torch_frames(bundle, "cpu", weights) as torch,
        Encoder.load(folder, engine="onnxruntime", fused=True) as reference,
    ):
        assert torch.remarks == ()
        assert torch.engine_name == "torch/cpu/fp32"
        found, right = (
            Detector.enroll(encoder, frames[:3], recipe=recipe, threshold=1.0)
            for encoder in (torch, reference)
        )
        for frame in frames[3:]:
            assert found(frame).patch_distances == pytest.approx(right(frame).patch_distances, abs=1e-5)
            assert found(frame).score == pytest.approx(right(frame).score, rel=1e-4)
    attention = torch._engine._encoder
    assert attention is None  # closed


def test_half_precision_runs_from_end_to_end(exported):
    """What runs on a GPU, on the processor: every buffer has the type of what it meets."""
    folder, weights = exported
    bundle = EncoderBundle.open(folder)
    manifest = sdpa.without_attention(bundle).manifest
    frame = frames_of(1, 120)[0]
    with sdpa.torch_frames(bundle, "cpu", weights) as encoder:
        right = encoder.encode(frame, layers="all").layers
        module = sdpa.sdpa_encoder(manifest, weights)
        encoder._engine = sdpa.TorchFrames(module, manifest, "cpu", "fp16")
        assert encoder.engine_name == "torch/cpu/fp16"
        found = encoder.encode(frame, layers="all").layers
        for layer, exact in zip(found, right, strict=True):
            assert layer.dtype == np.float32
            assert not np.array_equal(layer, exact)
            assert layer == pytest.approx(exact, rel=0.02, abs=0.02)


def test_it_is_torchs_own_attention_that_runs(exported, monkeypatch):
    import torch

    folder, weights = exported
    genuine, calls = torch.nn.functional.scaled_dot_product_attention, []

    def counted(*arguments, **options):
        calls.append(1)
        return genuine(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    manifest = EncoderBundle.open(folder).manifest
    engine = sdpa.open_torch(EncoderBundle.open(folder), "cpu", weights)
    run = engine.resident({manifest.input.name: random_picture(manifest, 2)})
    assert run() > 0
    assert len(calls) == 3  # blocks


def test_without_the_weights_only_the_speed_counts(exported, capsys):
    bundle = EncoderBundle.open(exported[0])
    with sdpa.torch_frames(bundle, "cpu", None) as encoder:
        assert encoder.remarks == (sdpa.OTHER_WEIGHTS,)
        assert np.isfinite(encoder.encode(frames_of(1, 120)[0]).tokens).all()
    assert "PyTorch runs with random weights: the bundle's weights were file:" in capsys.readouterr().out


def test_the_whole_command_on_a_processor(exported, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(machine, "probe_all", list)
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    folder, weights = exported
    out = tmp_path / "measured"
    words = [str(folder), "--quick", "--turns", "2", "--frames", "2", "--side", "120", "--out", str(out)]
    assert benchmark.main(words) == 2
    assert "nothing is installed to reach an NVIDIA GPU with" in capsys.readouterr().err
    assert not out.exists()

    words += ["--warm-seconds", "0", "--without-gpu", "--weights", weights, "--good", "2"]
    assert benchmark.main(words) == 0
    kept = json.loads((out / "gpu.json").read_text())
    assert kept["problems"] == {}
    assert "engines" not in kept
    timed = {
        part: {row["way"] for row in kept[part] if "p50_ms" in row} for part in ("device_runs", "frames")
    }
    onnx, torch = "ONNX Runtime, CPU, fp32", "PyTorch with SDPA, fp32"
    assert timed["device_runs"] == {f"{onnx}, encoder", f"{onnx}, frame graph", f"{torch}, encoder"}
    assert timed["frames"] == {f"{onnx}, stages", f"{onnx}, frame graph", f"{torch}, all in torch"}
    for row in kept["frames"]:
        if "p50_ms" in row:
            assert row["error"] < 1e-4
            assert len(row["times_as_fast"]) == 3
    batches = {(row["batch"], row["way"]) for row in kept["batches"] if "p50_ms" in row}
    assert batches == {(batch, f"{way}, encoder") for batch in (1, 4) for way in (onnx, torch)}
    why = {row["way"]: row["left_out"] for row in kept["frames"] if "left_out" in row}
    assert "no CUDAExecutionProvider" in why["ONNX Runtime, CUDA, fp32, stages"]
    assert any("nothing is installed to reach" in text or "not installed" in text for text in why.values())
    page = (out / "gpu.md").read_text()
    assert "**There is no GPU here. What follows ran on the processor, and says nothing of a GPU.**" in page
    assert "pictures a second" in page
