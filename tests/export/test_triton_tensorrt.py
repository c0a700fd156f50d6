"""A TensorRT plan for Triton, on a simulated GPU: see ``tests/simulated_gpu``. Nothing here ran on a GPU."""

import gc

import cv2
import numpy as np
import pytest
from edgead_export.errors import TritonError
from edgead_export.export import ExportOptions, build_bundle
from edgead_export.parity import parity_pictures
from edgead_export.resolution import Resolution
from edgead_export.triton.repository import ServingOptions, serve_detector, serve_encoder
from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.errors import EngineBuildError, EngineUnavailableError
from edgead_runtime.tensorrt import device as device_module
from simulated_gpu import tensorrt as simulated

OPTIONS = ServingOptions(backend="tensorrt", max_batch=4)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny, random_weights):
    folder, spec = tmp_path_factory.mktemp("encoder"), tiny("dinov2_s")
    chosen = ExportOptions(spec.name, folder, fuse=True, dynamic_batch=True)
    build_bundle(folder, spec, random_weights(spec), Resolution(56, 84, ""), chosen)
    return folder


@pytest.fixture
def part(bundle, tmp_path):
    frames = [cv2.resize(picture.frame, (150, 100)) for picture in parity_pictures()]
    recipe = get_recipe("anomalydino-informed").with_(mask="off")
    with Encoder.load(bundle, engine="onnxruntime", threads=1) as encoder:
        Detector.enroll(encoder, frames[:3], recipe=recipe).save(tmp_path / "part.edgead")
    return tmp_path / "part.edgead"


def test_a_detectors_plan_is_compared_before_it_is_written(gpu, part, tmp_path):
    written = serve_detector(part, tmp_path / "models", OPTIONS)
    assert written.parity.passed
    assert written.plan_parity.passed
    assert written.plan_parity.engine == "tensorrt/cuda/fp32"
    assert "So does the plan, in tensorrt/cuda/fp32" in written.lines()[2]
    assert (written.path / "1" / "model.plan").stat().st_size > 0
    config = (written.path / "config.pbtxt").read_text()
    assert 'backend: "tensorrt"' in config
    assert "KIND_GPU" in config
    assert 'default_model_filename: "model.plan"' in config
    gc.collect()
    assert gpu.leaks() == []


def test_a_plan_that_computes_something_else_is_not_written(gpu, part, tmp_path, monkeypatch):
    genuine = simulated.IExecutionContext._run

    def run(self, feeds):
        found = genuine(self, feeds)
        noise = np.random.default_rng(0).standard_normal(found["distances"].shape)
        return {**found, "distances": (found["distances"] + noise).astype(np.float32)}

    monkeypatch.setattr(simulated.IExecutionContext, "_run", run)
    with pytest.raises(TritonError, match="engine does not give what the detector gives") as caught:
        serve_detector(part, tmp_path / "models", OPTIONS)
    assert "another TensorRT than 10.3.0" in caught.value.remedy
    assert not list(tmp_path.glob("models/*"))


def doubled(name):
    """An output that is twice what it should be: in the right order, and wrong."""
    return lambda found: {name: 2 * found[name]}


WRONG = {
    "score": doubled("score"),
    "distances": doubled("distances"),
    "map": doubled("map"),
    "verdict": lambda found: {"anomaly": ~found["anomaly"]},
    "no numbers": lambda found: {"map": np.where(np.eye(*found["map"].shape) > 0, np.nan, found["map"])},
    "an infinite score": lambda found: {"score": np.full_like(found["score"], np.inf)},
}


@pytest.fixture
def engines_give(monkeypatch):
    """Let engines give something else from here on."""
    genuine = simulated.IExecutionContext._run

    def change(wrong):
        def run(self, feeds):
            found = genuine(self, feeds)
            changed = {name: value.astype(found[name].dtype) for name, value in wrong(found).items()}
            return {**found, **changed}

        monkeypatch.setattr(simulated.IExecutionContext, "_run", run)

    return change


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_every_output_of_a_detectors_plan_is_compared(gpu, part, tmp_path, engines_give, wrong):
    engines_give(wrong)
    with pytest.raises(TritonError, match="engine does not give what the detector gives"):
        serve_detector(part, tmp_path / "models", OPTIONS)
    assert not list(tmp_path.glob("models/*"))
    gc.collect()
    assert gpu.leaks() == []


@pytest.mark.parametrize(
    ("graph", "wrong"),
    [
        ("encoder", lambda found: {name: -value for name, value in found.items()}),
        ("frame", doubled("distances")),
        ("frame", lambda found: {"distances": np.full_like(found["distances"], np.nan)}),
    ],
)
def test_a_plan_of_an_encoder_is_compared_too(gpu, bundle, tmp_path, engines_give, graph, wrong):
    engines_give(lambda found: wrong(found) if ("distances" in found) == (graph == "frame") else {})
    with pytest.raises(EngineBuildError, match="does not compute what its fp32 ONNX file computes"):
        serve_encoder(bundle, tmp_path / "models", OPTIONS)
    assert not list(tmp_path.glob(f"models/*_{graph}"))


def test_encoder_and_frame_graph_have_room_for_what_is_open(gpu, bundle, tmp_path):
    encoder, frame = serve_encoder(bundle, tmp_path / "models", OPTIONS)
    assert (encoder.model.max_batch, frame.model.max_batch) == (4, 0)
    for model in (encoder, frame):
        assert (model.path / "1" / "model.plan").stat().st_size > 0
        assert model.parity is None
        assert model.plan_parity.passed
        assert model.plan_parity.cosine_min > 0.9999
        assert "plan agrees with ONNX Runtime in fp32: patch cosine 1.0000" in model.lines()[1]
    gc.collect()
    assert gpu.leaks() == []


def test_without_a_gpu_there_is_no_plan(part, tmp_path, monkeypatch):
    monkeypatch.setattr(device_module, "IMPLEMENTATIONS", {})
    with pytest.raises(EngineUnavailableError):
        serve_detector(part, tmp_path / "models", OPTIONS)
    assert not (tmp_path / "models").exists()
