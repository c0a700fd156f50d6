"""Which of a bundle's files TensorRT is given, on a simulated GPU: see ``tests/simulated_gpu``."""

import sys

import msgspec
import pytest
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.errors import EngineBuildError, PrecisionMissingError
from edgead_runtime.manifest import encode_manifest
from edgead_runtime.tensorrt import device as device_module
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.cuda_bindings import CudaBindings
from simulated_gpu import SimulatedGpu
from simulated_gpu.cuda import SimulatedCudart
from simulated_gpu.tensorrt import SimulatedTensorRt


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    gpu = SimulatedGpu()
    monkeypatch.setattr(
        device_module, "IMPLEMENTATIONS", {"sys": lambda: CudaBindings.open(SimulatedCudart(gpu))}
    )
    monkeypatch.setitem(sys.modules, "tensorrt", SimulatedTensorRt(gpu, "10.3.0"))
    return gpu


@pytest.fixture
def with_int8(add_frame_graph, mini_bundle, tmp_path):
    """A bundle that says of a copy of its fp32 files that they are int8, of one kind or the other."""

    def make(*, symmetric):
        folder = add_frame_graph(mini_bundle, tmp_path / f"encoder-{symmetric}")
        manifest = EncoderBundle.open(folder).manifest
        file = msgspec.structs.replace(
            manifest.file("fp32"), precision="int8", judged={"onnxruntime": True}, symmetric=symmetric
        )
        frame = msgspec.structs.replace(manifest.frame, precision="int8")
        changed = msgspec.structs.replace(
            manifest, files=[*manifest.files, file], frames=[*manifest.frames, frame]
        )
        (folder / "manifest.json").write_bytes(encode_manifest(changed))
        return folder

    return make


def test_int8_for_processors_is_refused_before_tensorrt_is_asked(gpu, with_int8):
    with pytest.raises(EngineBuildError, match="unsigned activations") as caught:
        build_engine(with_int8(symmetric=False), "tensorrt", precision="int8")
    assert "--precision int8 --engine tensorrt" in caught.value.remedy


def test_int8_for_tensorrt_is_built_and_runs(gpu, with_int8, good_frames):
    folder = with_int8(symmetric=True)
    built = build_engine(folder, "tensorrt", precision="int8")
    assert (built.record.precision, built.record.graph) == ("int8", "frame")
    with Encoder.load(folder, engine="tensorrt", precision="int8") as encoder:
        assert encoder.engine_name == "tensorrt/cuda/int8"
        assert any("Nobody has judged the int8 file in tensorrt" in remark for remark in encoder.remarks)
        assert encoder.encode(good_frames[0]).tokens.shape[0] > 0


def test_precisions_that_are_no_file(gpu, with_int8):
    folder = with_int8(symmetric=True)
    with pytest.raises(EngineBuildError, match="bf16 is a way to run"):
        build_engine(folder, "tensorrt", precision="bf16")
    with pytest.raises(PrecisionMissingError):
        build_engine(folder, "tensorrt", precision="fp16")
