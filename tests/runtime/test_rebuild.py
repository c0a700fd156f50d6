"""An engine that does not fit is built again where the user allows it, once and with a message; simulated."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime import cache as cache_module
from edgead_runtime.engines import EngineOptions, create_engine
from edgead_runtime.errors import (
    EngineBuildError,
    EngineMismatchError,
    EngineUnavailableError,
    OutputError,
)
from edgead_runtime.tensorrt import opening
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.places import LOCK_NAME
from edgead_runtime.tensorrt.store import Wanted, identify
from simulated_gpu import SimulatedGpu
from simulated_gpu import tensorrt as simulated


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


@pytest.fixture
def wrong(monkeypatch):
    """Engines compute something else, until it is called."""
    genuine = simulated.IExecutionContext._run

    def run(self, feeds):
        random = np.random.default_rng(0)
        return {
            name: (value + random.standard_normal(value.shape)).astype(value.dtype)
            for name, value in genuine(self, feeds).items()
        }

    with monkeypatch.context() as patch:
        patch.setattr(simulated.IExecutionContext, "_run", run)
        yield patch.undo


def test_one_that_computes_something_else_is_not_taken_and_not_built_again(gpu, bundle, wrong, builds):
    with pytest.raises(EngineBuildError, match="does not compute what its fp32 ONNX file computes"):
        load(bundle, rebuild=True)
    assert not list(bundle.glob("engines/*.plan"))
    for allowed in (True, False, True):
        with pytest.raises(EngineMismatchError, match=r"does not compute .*patch cosine") as caught:
            load(bundle, rebuild=allowed)
        assert f"To try the same again: edgead-runtime build {bundle}" in caught.value.remedy
    assert len(builds) == 1
    (kept,) = bundle.glob("engines/failed-*.json")
    assert str(kept) in caught.value.problem
    record = json.loads(kept.read_text())
    assert record["parity"]["passed"] is False
    assert (record["gpu"]["name"], record["tensorrt"]) == ("Simulated Orin", "10.3.0")


def test_one_that_failed_gets_another_chance_where_something_changed(plug_in, bundle, wrong, builds):
    def fails(**options):
        with pytest.raises(EngineBuildError):
            load(bundle, rebuild=True, **options)

    plug_in(SimulatedGpu())
    fails()
    fails(fused=False)  # another ONNX file
    plug_in(SimulatedGpu(), "10.7.0")
    fails()
    plug_in(SimulatedGpu(name="Another Orin"))
    fails()
    plug_in(SimulatedGpu())
    with pytest.raises(EngineMismatchError):
        load(bundle, rebuild=True)
    with pytest.raises(EngineBuildError):  # a person who asks for it has it tried
        build_engine(bundle, "tensorrt")
    assert len(builds) == 4
    wrong()
    build_engine(bundle, "tensorrt")
    load(bundle).close()
    assert len(list(bundle.glob("engines/failed-*.json"))) == 3  # not the one that was mended


def test_other_options_than_those_that_failed_are_another_engine(plug_in, bundle, wrong, builds):
    plug_in(SimulatedGpu())
    with pytest.raises(EngineBuildError):
        load(bundle, rebuild=True)
    plug_in(SimulatedGpu(name="Another Orin"))
    build_engine(bundle, "tensorrt", BuildOptions(bank_blocks=(4, 8)), unchecked=True)
    plug_in(SimulatedGpu())
    with pytest.raises(EngineBuildError):  # as that one was built
        load(bundle, rebuild=True)
    with pytest.raises(EngineMismatchError, match="does not compute"):
        load(bundle, rebuild=True)
    assert [arguments[2].bank_blocks for arguments, _ in builds] == [(16, 256), (4, 8)]


def a_file_in_its_place(bundle, monkeypatch):
    (bundle / "engines").write_bytes(b"")


def a_file_system_that_is_read_only(bundle, monkeypatch):
    def refuse(genuine):
        def call(self, *arguments, **options):
            if bundle in self.parents:
                raise OSError(errno.EROFS, "Read-only file system", str(self))
            return genuine(self, *arguments, **options)

        return call

    for method in ("mkdir", "write_bytes", "touch"):
        monkeypatch.setattr(Path, method, refuse(getattr(Path, method)))


@pytest.mark.parametrize("cannot_write", [a_file_in_its_place, a_file_system_that_is_read_only])
def test_an_engine_may_not_lie_beside_its_encoder(
    gpu, bundle, part, builds, caplog, tmp_path, monkeypatch, cannot_write
):
    with monkeypatch.context() as patch:
        cannot_write(bundle, patch)
        with caplog.at_level(logging.WARNING, "edgead.tensorrt"):
            load(bundle, rebuild=True).close()
        assert "folder cannot be written, so it is in the cache" in caplog.text
        for options in ({}, {"rebuild": True}):
            with load(bundle, **options) as encoder:
                encoder.encode(part(0))
    assert len(builds) == 1
    assert len(list((tmp_path / "cache" / "engines").glob("*.plan"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_no_place_either(gpu, bundle, builds, tmp_path):
    bundle.chmod(0o555)
    try:
        load(bundle, rebuild=True).close()
        load(bundle).close()
    finally:
        bundle.chmod(0o755)
    assert len(builds) == 1


def test_where_nothing_can_be_written_nothing_is_built(plug_in, bundle, monkeypatch, tmp_path):
    module = plug_in(SimulatedGpu())
    (bundle / "engines").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "file"))
    for build in (lambda: load(bundle, rebuild=True), lambda: build_engine(bundle, "tensorrt")):
        with pytest.raises(OutputError, match="cannot write"):
            build()
    assert not module.configs


def test_one_that_fits_in_the_cache_is_not_hidden_by_one_beside_the_encoder(plug_in, bundle, part, builds):
    plug_in(SimulatedGpu())
    build_engine(bundle, "tensorrt", into_cache=True)
    plug_in(SimulatedGpu(name="Another Orin"))
    build_engine(bundle, "tensorrt")
    with load(bundle) as encoder:
        encoder.encode(part(0))
    plug_in(SimulatedGpu())
    with load(bundle, rebuild=True) as encoder:
        encoder.encode(part(0))
    assert not builds


def test_machines_that_share_a_folder_do_not_build_in_turns(plug_in, bundle, monkeypatch, tmp_path, builds):
    """Each has a cache of its own."""
    machines = {"Simulated Orin": tmp_path / "one", "Another Orin": tmp_path / "other"}
    for _ in range(3):
        for name, cache in machines.items():
            plug_in(SimulatedGpu(name=name))
            monkeypatch.setenv("EDGEAD_CACHE", str(cache))
            load(bundle, rebuild=True).close()
    assert len(builds) == 2


def test_a_machine_of_its_own_update_leaves_the_engine_of_the_other(plug_in, bundle, monkeypatch, tmp_path):
    """The nearer of two engines is its own older one in the cache; the one beside the encoder is not."""
    first, second = SimulatedGpu(), SimulatedGpu(name="Another Orin")
    for gpu, version, cache in (
        (first, "10.3.0", "one"),
        (second, "10.3.0", "two"),
        (second, "10.7.0", "two"),
    ):
        plug_in(gpu, version)
        monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / cache))
        load(bundle, rebuild=True).close()
    plug_in(first, "10.3.0")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "one"))
    load(bundle).close()


def test_of_several_that_do_not_fit_the_nearest_is_named(plug_in, bundle):
    plug_in(SimulatedGpu(), "10.7.0")
    build_engine(bundle, "tensorrt", into_cache=True)
    plug_in(SimulatedGpu(name="Another Orin"))
    build_engine(bundle, "tensorrt")
    plug_in(SimulatedGpu(), "10.9.0")
    with pytest.raises(EngineMismatchError) as caught:
        load(bundle)
    assert caught.value.problem.endswith("cannot be used: it was built by TensorRT 10.7.0, here is 10.9.0")


def test_two_that_begin_together_build_once(gpu, bundle, part, builds, caplog):
    """In threads of one process, which exclude each other as processes do."""
    failures = []

    def start():
        try:
            with load(bundle, rebuild=True) as encoder:
                encoder.encode(part(0))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    with caplog.at_level(logging.WARNING, "edgead.tensorrt"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(builds) == 1


_HOLDER = """
import fcntl, pathlib, shutil, sys
finished, folder = map(pathlib.Path, sys.argv[1:3])
folder.mkdir()
with (folder / sys.argv[3]).open("ab") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("building", flush=True)
    sys.stdin.readline()
    for path in sorted(finished.iterdir(), reverse=True):
        shutil.copy(path, folder)
"""
"""Another process that builds: it has the lock, and some time later the engine is there."""


def test_the_engine_of_another_process_is_waited_for(gpu, bundle, part, builds, caplog, tmp_path):
    finished = build_engine(bundle, "tensorrt").path.parent.rename(tmp_path / "finished")
    command = [sys.executable, "-c", _HOLDER, str(finished), str(bundle / "engines"), LOCK_NAME]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "building\n"

        def let_go_once_it_is_waited_for(record):
            if "Another process is building an engine" in record.getMessage():
                other.stdin.write("\n")
                other.stdin.flush()
            return True

        opening.log.addFilter(let_go_once_it_is_waited_for)
        try:
            with load(bundle, rebuild=True) as encoder:
                encoder.encode(part(0))
        finally:
            opening.log.removeFilter(let_go_once_it_is_waited_for)
            other.stdin.close()
    assert other.returncode == 0
    assert not builds


@pytest.mark.parametrize("level", [1, None], ids=["beside one of its own", "alone"])
def test_the_options_of_another_flavour_are_not_taken(gpu, bundle, builds, level):
    """TensorRT for RTX names its GPUs, which TensorRT refuses."""
    own = build_engine(bundle, "tensorrt", BuildOptions(optimization_level=1)).path.with_suffix(".json")
    record = json.loads(own.read_text())
    record |= {"flavour": "tensorrt-rtx", "created": "2099-01-01"}
    record["options"] |= {"sm": [86]}
    (own.parent / "tensorrt-rtx-0000000000000000.json").write_text(json.dumps(record))
    if level is None:
        own.unlink()
    else:  # as of other weights
        own.rename(own.with_name("tensorrt-1111111111111111.json"))
    load(bundle, rebuild=True).close()
    (((_, _, options), _),) = builds
    assert options == BuildOptions(optimization_level=level or 3)


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
