"""An engine that does not fit is built again where the user allows it, once and with a message; simulated."""

import json
import logging
import os

import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime import cache as cache_module
from edgead_runtime.engines import EngineOptions, create_engine
from edgead_runtime.errors import EngineBuildError, EngineMismatchError, EngineUnavailableError
from edgead_runtime.tensorrt import opening
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.store import Wanted, identify
from simulated_gpu import SimulatedGpu


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(opening.REBUILD, raising=False)


@pytest.fixture
def bundle(add_frame_graph, mini_bundle, tmp_path):
    return add_frame_graph(mini_bundle, tmp_path / "encoder")


@pytest.fixture
def builds(monkeypatch):
    """What is built."""
    seen = []

    def build(*arguments, **options):
        seen.append((arguments, options))
        return build_engine(*arguments, **options)

    monkeypatch.setattr(opening, "build_engine", build)
    return seen


def load(bundle, **options):
    return Encoder.load(bundle, engine="tensorrt", **options)


OTHERS = {
    "another GPU": ({"name": "Another Orin"}, "10.3.0", "here is Another Orin"),
    "another TensorRT": ({}, "10.7.0", "here is 10.7.0"),
}


@pytest.mark.parametrize(("facts", "version", "said"), OTHERS.values(), ids=OTHERS)
def test_for_what_is_here_now(plug_in, bundle, part, builds, caplog, facts, version, said):
    plug_in(SimulatedGpu())
    build_engine(bundle, "tensorrt", BuildOptions(bank_blocks=(4, 8)))
    plug_in(SimulatedGpu(**facts), version)
    with pytest.raises(EngineMismatchError):
        load(bundle)
    assert not builds
    with caplog.at_level(logging.WARNING, "edgead.tensorrt"), load(bundle, rebuild=True) as encoder:
        encoder.encode(part(0))
    before, after = (record.getMessage() for record in caplog.records)
    assert said in before
    assert "It is built now, which takes minutes" in before
    assert "it agrees with ONNX Runtime" in after
    (((_, _, options), _),) = builds
    assert options.bank_blocks == (4, 8)  # as it was built
    load(bundle, rebuild=True).close()
    assert len(builds) == 1


def test_after_other_weights(gpu, bundle, build_bundle, add_frame_graph, builds, tmp_path, caplog):
    build_engine(bundle, "tensorrt", BuildOptions(optimization_level=4))
    other = add_frame_graph(build_bundle(tmp_path / "plain", seed=1), tmp_path / "other")
    (bundle / "engines").rename(other / "engines")
    with pytest.raises(EngineUnavailableError, match="no tensorrt engine was built"):
        load(other)
    load(other, rebuild=True).close()
    ((_, found, options), how) = (*builds[0][0],), builds[0][1]
    assert options.optimization_level == 4  # like the one of the weights before
    assert (found, how["graph"]) == ("tensorrt", None)
    assert len(list((other / "engines").glob("*.plan"))) == 2


def test_the_environment_allows_it_too(gpu, bundle, good_frames, quick, builds, monkeypatch, tmp_path):
    Detector.enroll(Encoder.load(bundle, engine="onnxruntime"), good_frames[:3], recipe=quick).save(
        tmp_path / "part.edgead"
    )
    with pytest.raises(EngineUnavailableError):
        Detector.load(tmp_path / "part.edgead", engine="tensorrt")
    Detector.load(tmp_path / "part.edgead", engine="tensorrt", rebuild=True).close()
    monkeypatch.setenv(opening.REBUILD, "1")
    load(bundle, fused=False).close()
    assert [how["graph"] for _, how in builds] == [None, "encoder"]


def test_auto_on_a_gpu_may_too(gpu, bundle, builds, monkeypatch):
    monkeypatch.delenv("EDGEAD_ENGINE")
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    with pytest.raises(EngineUnavailableError):
        Encoder.load(bundle, engine="auto", device="cuda")
    with Encoder.load(bundle, engine="auto", device="cuda", rebuild=True) as encoder:
        assert encoder.engine_name == "tensorrt/cuda/fp32"
    assert len(builds) == 1


def test_one_that_computes_something_else_is_not_taken(gpu, bundle, monkeypatch, builds):
    from simulated_gpu import tensorrt as simulated

    genuine = simulated.IExecutionContext._run

    def run(self, feeds):
        return {name: value[::-1].copy() for name, value in genuine(self, feeds).items()}

    monkeypatch.setattr(simulated.IExecutionContext, "_run", run)
    with pytest.raises(EngineBuildError, match="does not compute what its fp32 ONNX file computes"):
        load(bundle, rebuild=True)
    assert len(builds) == 1
    assert not list(bundle.glob("engines/*.plan"))


def test_what_is_damaged_is_never_written_over(gpu, bundle, builds):
    path = build_engine(bundle, "tensorrt").path.with_suffix(".json")
    fields = json.loads(path.read_text())
    fields["parity"] = {"pictures": 4, "cosine_min": 0.1, "rank_correlation_min": 0.2, "passed": False}
    path.write_text(json.dumps(fields))
    with pytest.raises(EngineMismatchError, match="does not compute"):
        load(bundle, rebuild=True)
    assert not builds


def test_a_graph_of_no_bundle_cannot_be_built(gpu, sum_model, builds):
    with pytest.raises(EngineUnavailableError, match="no tensorrt engine"):
        create_engine(sum_model, "tensorrt", EngineOptions(device="cuda", rebuild=True))
    assert not builds
    assert identify(sum_model, None) == identify(sum_model, "/nowhere") == Wanted()


def test_engines_in_the_cache_stay_within_its_size_and_those_of_a_bundle_stay(
    gpu, bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache_module, "MOST_BYTES", 1)
    for graph in ("encoder", "frame"):
        build_engine(bundle, "tensorrt", graph=graph)
        last = build_engine(bundle, "tensorrt", graph=graph, into_cache=True)
    engines = tmp_path / "cache" / "engines"
    assert list(engines.glob("*.plan")) == [last.path]
    assert list(engines.glob("*.json")) == [last.path.with_suffix(".json")]
    assert len(list((bundle / "engines").glob("*.plan"))) == 2


def test_an_engine_in_the_cache_that_is_used_stays_longest(gpu, bundle, tmp_path):
    built = build_engine(bundle, "tensorrt", into_cache=True)
    os.utime(built.path, (1e9, 1e9))
    with load(bundle):
        pass
    assert built.path.stat().st_mtime > 1e9
