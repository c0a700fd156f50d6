"""OpenVINO computes what ONNX Runtime does, or what it was asked to."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.engines import EngineOptions, create_engine
from edgead_runtime.errors import BundleError, EngineUnavailableError

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")


def _has_bfloat16():
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_the_same_numbers(two_layer_bundle, part):
    with (
        Encoder.load(two_layer_bundle, engine="openvino", threads=1) as ours,
        Encoder.load(two_layer_bundle, engine="onnxruntime", threads=1) as theirs,
    ):
        assert ours.engine_name == "openvino/cpu"
        for number in range(3):
            found = ours.encode(part(number), layers="all")
            expected = theirs.encode(part(number), layers="all")
            assert found.attention == pytest.approx(expected.attention, abs=1e-6)
            for one, other in zip(found.layers, expected.layers, strict=True):
                assert one.dtype == np.float32
                assert one == pytest.approx(other, abs=1e-4)


def test_a_detector_of_one_engine_runs_on_another(detector, mini_bundle, good_frames, defective, tmp_path):
    detector.save(tmp_path / "part.edgead")
    with Detector.load(tmp_path / "part.edgead", encoder=mini_bundle, engine="openvino") as loaded:
        assert loaded.provenance.engine == "openvino/cpu"
        assert loaded(defective.frame).score == pytest.approx(detector(defective.frame).score, abs=1e-5)
        assert loaded(good_frames[0]).score == pytest.approx(0, abs=1e-5)


def test_threads_do_not_see_each_others_results(mini_bundle, part):
    with Encoder.load(mini_bundle, engine="openvino", threads=1) as encoder:
        expected = [encoder.encode(part(number)).tokens for number in range(8)]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda number: encoder.encode(part(number % 8)).tokens, range(64)))
    for number, tokens in enumerate(found):
        assert np.array_equal(tokens, expected[number % 8])


def test_uploaded_inputs_and_closing(sum_model):
    left, right = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
    left.flags.writeable = False
    engine = create_engine(sum_model, "openvino", EngineOptions(threads=1))
    one, other = engine.upload(right), engine.upload(2 * right)
    kept = engine.run({"left": left, "right": one})["total"]
    assert kept.tolist() == [1, 2, 3, 4]
    assert engine.run({"left": left, "right": other})["total"].tolist() == [2, 3, 4, 5]
    assert engine.run({"left": left, "right": one}, ["total"])["total"].tolist() == [1, 2, 3, 4]
    assert kept.tolist() == [1, 2, 3, 4]
    engine.close()
    with pytest.raises(EngineUnavailableError, match="closed"):
        engine.run({"left": left, "right": one})


def test_a_graph_that_is_none(sum_model):
    for broken in (b"", b"no graph", sum_model[: len(sum_model) // 2]):
        with pytest.raises(BundleError, match="OpenVINO cannot load"):
            create_engine(broken, "openvino")


def test_it_never_takes_bfloat16_unasked(mini_bundle):
    with Encoder.load(mini_bundle, engine="openvino") as encoder:
        assert encoder.engine_name == "openvino/cpu"


def test_bfloat16_is_near(mini_bundle, part):
    if not _has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    with (
        Encoder.load(mini_bundle, engine="openvino", precision="bf16") as fast,
        Encoder.load(mini_bundle, engine="openvino") as exact,
    ):
        assert fast.engine_name == "openvino/cpu/bf16"
        one, other = fast.encode(part(0)).tokens, exact.encode(part(0)).tokens
        assert not np.array_equal(one, other)
        assert np.abs(one - other).max() < 0.05 * np.abs(other).max()


def test_bfloat16_where_there_is_none(sum_model, monkeypatch):
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(EngineUnavailableError, match="no bfloat16"):
        create_engine(sum_model, "openvino", EngineOptions(precision="bf16"))


def test_onnxruntime_has_no_bfloat16(sum_model):
    with pytest.raises(EngineUnavailableError, match="cannot run on 'cpu' in bf16"):
        create_engine(sum_model, "onnxruntime", EngineOptions(precision="bf16"))


def test_closing_beside_a_run_lets_the_graph_go(sum_model):
    left, right = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
    engine = create_engine(sum_model, "openvino", EngineOptions(threads=1))
    engine.run({"left": left, "right": right})
    (request,) = engine._idle.get_nowait()
    engine._idle.put([_ClosingRequest(request, engine)])
    engine.run({"left": left, "right": right})
    assert engine._idle.qsize() == 0


class _ClosingRequest:
    """A request during which somebody closes the engine."""

    def __init__(self, request, engine):
        self.request, self.engine = request, engine

    def infer(self, inputs):
        self.request.infer(inputs)
        self.engine.close()

    def get_output_tensor(self, index):
        return self.request.get_output_tensor(index)
