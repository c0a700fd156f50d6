"""Engines: what was asked for runs, or nothing does."""

import dataclasses
import sys

import numpy as np
import onnxruntime as ort
import pytest
from edgead_runtime import Encoder, engines
from edgead_runtime.engines import ENGINES, EngineOptions, create_engine
from edgead_runtime.errors import BundleError, EngineUnavailableError


def _vector(*values):
    return np.array(values, np.float32)


LEFT, RIGHT = _vector(1, 2, 3, 4), _vector(10, 20, 30, 40)


def test_it_runs_and_says_what_it_is(sum_model):
    with create_engine(sum_model, "onnxruntime", EngineOptions(threads=1)) as engine:
        assert engine.name == "onnxruntime/cpu"
        outputs = engine.run({"left": LEFT, "right": RIGHT})
    assert list(outputs) == ["total"]
    assert outputs["total"].tolist() == [11, 22, 33, 44]


def test_what_was_uploaded_is_fed_again_and_is_nobody_elses(sum_model):
    with create_engine(sum_model, options=EngineOptions(threads=1)) as engine:
        one, other = engine.upload(RIGHT), engine.upload(_vector(0, 0, 0, 1))
        assert engine.run({"left": LEFT, "right": one})["total"].tolist() == [11, 22, 33, 44]
        assert engine.run({"left": LEFT, "right": other})["total"].tolist() == [1, 2, 3, 5]
        assert engine.run({"left": 2 * LEFT, "right": one})["total"].tolist() == [12, 24, 36, 48]
        assert engine.run({"left": one, "right": one})["total"].tolist() == [20, 40, 60, 80]


def test_only_what_was_asked_for_comes_out(sum_model):
    with create_engine(sum_model, options=EngineOptions(threads=1)) as engine:
        assert list(engine.run({"left": LEFT, "right": RIGHT}, ["total"])) == ["total"]


def test_auto_is_the_first_that_is_there(sum_model):
    with create_engine(sum_model) as engine:
        assert engine.name.startswith("onnxruntime/")


def test_an_unknown_engine(sum_model):
    with pytest.raises(EngineUnavailableError, match="unknown engine 'tensorflow'") as caught:
        create_engine(sum_model, "tensorflow")
    assert "auto" in caught.value.remedy
    assert "onnxruntime" in caught.value.remedy


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_none_installed_says_what_to_install(sum_model, monkeypatch, engine, device):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(
        EngineUnavailableError, match=f"no inference engine is installed for {device}"
    ) as caught:
        create_engine(sum_model, engine, EngineOptions(device=device))
    assert 'pip install "edgead-runtime[cpu]"' in caught.value.remedy


def test_an_installation_that_does_not_load_says_so(sum_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "edgead_runtime.engines.onnxruntime", None)
    with pytest.raises(EngineUnavailableError, match="installed but does not load"):
        create_engine(sum_model)


def test_a_device_the_engine_has_not(sum_model, monkeypatch):
    only_cpu = dataclasses.replace(ENGINES["onnxruntime"], devices=("cpu",))
    monkeypatch.setitem(ENGINES, "onnxruntime", only_cpu)
    for engine in ("auto", "onnxruntime"):
        with pytest.raises(EngineUnavailableError, match="cannot run on 'cuda'"):
            create_engine(sum_model, engine, EngineOptions(device="cuda"))


@pytest.mark.skipif(
    "CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime is a CUDA build"
)
def test_cuda_on_a_cpu_build_is_refused(sum_model, mini_bundle):
    for call in (
        lambda: create_engine(sum_model, options=EngineOptions(device="cuda")),
        lambda: Encoder.load(mini_bundle, device="cuda"),
    ):
        with pytest.raises(EngineUnavailableError, match="no CUDAExecutionProvider") as caught:
            call()
        assert "[gpu]" in caught.value.remedy


def test_a_cuda_build_that_falls_back_to_the_cpu_is_refused(sum_model, monkeypatch):
    """What onnxruntime-gpu does where CUDA's libraries are missing: a log line, and the CPU."""

    class FellBack:
        def __init__(self, model, sess_options, providers):
            assert providers == ["CUDAExecutionProvider"]

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(
        ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(ort, "InferenceSession", FellBack)
    with pytest.raises(EngineUnavailableError, match="would run on CPUExecutionProvider"):
        create_engine(sum_model, options=EngineOptions(device="cuda"))


def test_threads_are_handed_on(sum_model, monkeypatch):
    seen = []
    genuine = ort.InferenceSession

    def session(model, sess_options, providers):
        seen.append(sess_options.intra_op_num_threads)
        return genuine(model, sess_options=sess_options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", session)
    create_engine(sum_model, options=EngineOptions(threads=1)).close()
    create_engine(sum_model).close()
    assert seen == [1, 0]


@pytest.mark.parametrize("model", [b"", b"not a graph", b"\x08\x08\x12"])
def test_what_is_no_graph(model):
    with pytest.raises(BundleError, match="cannot load the graph"):
        create_engine(model)


def test_a_truncated_graph(sum_model):
    with pytest.raises(BundleError, match="cannot load the graph"):
        create_engine(sum_model[:-5])


@pytest.mark.gpu
@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="no CUDA build")
def test_cuda_agrees_with_the_cpu(mini_bundle, part):
    with Encoder.load(mini_bundle, device="cuda") as gpu, Encoder.load(mini_bundle) as cpu:
        assert gpu.engine_name == "onnxruntime/cuda"
        assert gpu.encode(part(0)).tokens == pytest.approx(cpu.encode(part(0)).tokens, abs=1e-2)
