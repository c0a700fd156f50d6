"""Which of a bundle's files TensorRT is given, on a simulated GPU: see ``tests/simulated_gpu``."""

import sys

import msgspec
import pytest
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.errors import EngineBuildError, PrecisionMissingError
from edgead_runtime.manifest import encode_manifest
from edgead_runtime.tensorrt import device as device_module
from edgead_runtime.tensorrt.building import build_engine, build_in_memory
from edgead_runtime.tensorrt.capability import precisions_of
from edgead_runtime.tensorrt.cuda_bindings import CudaBindings
from edgead_runtime.tensorrt.options import BuildOptions
from simulated_gpu import SimulatedGpu
from simulated_gpu.cuda import SimulatedCudart
from simulated_gpu.tensorrt import SimulatedTensorRt


@pytest.fixture
def plug_in(monkeypatch, tmp_path):
    """A GPU of a compute capability, with TensorRT."""
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))

    def plug_in(sm=87, **facts):
        gpu = SimulatedGpu(sm=sm, name=f"Simulated {sm}", **facts)
        monkeypatch.setattr(
            device_module, "IMPLEMENTATIONS", {"sys": lambda: CudaBindings.open(SimulatedCudart(gpu))}
        )
        monkeypatch.setitem(sys.modules, "tensorrt", SimulatedTensorRt(gpu, "10.3.0"))

    return plug_in


@pytest.fixture
def gpu(plug_in):
    """An Orin."""
    plug_in()


@pytest.fixture
def with_file(add_frame_graph, mini_bundle, tmp_path):
    """A bundle that says of a copy of its fp32 files that they are in another precision."""

    def make(precision, *, symmetric=False):
        folder = add_frame_graph(mini_bundle, tmp_path / f"encoder-{precision}-{symmetric}")
        manifest = EncoderBundle.open(folder).manifest
        file = msgspec.structs.replace(
            manifest.file("fp32"), precision=precision, judged={"onnxruntime": True}, symmetric=symmetric
        )
        frame = msgspec.structs.replace(manifest.frame, precision=precision)
        changed = msgspec.structs.replace(
            manifest, files=[*manifest.files, file], frames=[*manifest.frames, frame]
        )
        (folder / "manifest.json").write_bytes(encode_manifest(changed))
        return folder

    return make


def test_int8_for_processors_is_refused_before_tensorrt_is_asked(gpu, with_file):
    with pytest.raises(EngineBuildError, match="unsigned activations") as caught:
        build_engine(with_file("int8"), "tensorrt", precision="int8")
    assert "--precision int8 --engine tensorrt" in caught.value.remedy


@pytest.mark.parametrize("precision", ["int8", "fp16", "bf16", "fp8"])
def test_a_file_for_tensorrt_is_built_and_runs(plug_in, with_file, good_frames, precision):
    plug_in(89, integrated=False)
    folder = with_file(precision, symmetric=precision == "int8")
    built = build_engine(folder, "tensorrt", precision=precision)
    assert (built.record.precision, built.record.graph) == (precision, "frame")
    with Encoder.load(folder, engine="tensorrt", precision=precision) as encoder:
        assert encoder.engine_name == f"tensorrt/cuda/{precision}"
        assert any(f"Nobody has judged the {precision} file in tensorrt" in said for said in encoder.remarks)
        assert encoder.encode(good_frames[0]).tokens.shape[0] > 0


def test_precisions_that_there_is_no_file_of(gpu, with_file):
    folder = with_file("int8", symmetric=True)
    for precision, remedy in {
        "bf16": "--precision bf16 --engine tensorrt",
        "fp16": "--precision fp16",
    }.items():
        with pytest.raises(PrecisionMissingError, match=f"no {precision} file") as caught:
            build_engine(folder, "tensorrt", precision=precision)
        assert remedy in caught.value.remedy
        with pytest.raises(PrecisionMissingError, match=f"no {precision} file"):
            Encoder.load(folder, engine="tensorrt", precision=precision)


def test_fp8_is_refused_where_the_gpu_has_none(plug_in, with_file):
    folder = with_file("fp8")
    plug_in(87)
    with pytest.raises(EngineBuildError, match=r"8\.7 have no fp8, which begins at 8\.9") as caught:
        build_engine(folder, "tensorrt", precision="fp8")
    assert "Take fp16, bf16 or int8." in caught.value.remedy
    plug_in(75)
    with pytest.raises(EngineBuildError) as caught:
        build_engine(folder, "tensorrt", precision="fp8")
    assert "Take fp16 or int8." in caught.value.remedy  # not bf16, which it has not either
    plug_in(87)
    with pytest.raises(EngineBuildError, match="no fp8"):
        build_in_memory(EncoderBundle.open(folder).read_model("fp8"), "tensorrt", "fp8")
    plug_in(89, integrated=False)
    with pytest.raises(EngineBuildError, match=r"8\.0 have no fp8") as caught:
        build_engine(folder, "tensorrt", BuildOptions(hardware="ampere-plus"), precision="fp8")
    assert "leave out --hardware" in caught.value.remedy


def test_what_a_gpu_has():
    assert precisions_of(75) == ("fp32", "fp16", "int8")
    assert precisions_of(87) == ("fp32", "fp16", "bf16", "int8")
    assert precisions_of(89) == ("fp32", "fp16", "bf16", "int8", "fp8")
