"""The whole way over the GPU, on a simulated one: see ``tests/simulated_gpu``. Nothing here ran on a GPU."""

import gc
import json
import shlex
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from edgead_runtime import Detector, Encoder, EncoderBundle, command, get_recipe
from edgead_runtime.engines import EngineOptions, create_engine, default_device
from edgead_runtime.errors import (
    BundleError,
    EngineBuildError,
    EngineMismatchError,
    EngineUnavailableError,
    GpuError,
    GpuLostError,
    GpuMemoryError,
    PictureError,
)
from edgead_runtime.tensorrt import device as device_module
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.places import LOCK_NAME
from PIL import Image
from simulated_gpu import SimulatedGpu
from simulated_gpu.tensorrt import BuilderFlag, HardwareCompatibilityLevel, MemoryPoolType


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(add_frame_graph, mini_bundle, tmp_path):
    """A fused encoder of one's own, without engines."""
    return add_frame_graph(mini_bundle, tmp_path / "encoder")


@pytest.fixture
def two_layers(add_frame_graph, two_layer_bundle, tmp_path):
    return add_frame_graph(two_layer_bundle, tmp_path / "encoder")


def load(bundle, **options):
    return Encoder.load(bundle, engine="tensorrt", **options)


def on_gpu_and_by_stages(bundle, frames, recipe):
    staged = Encoder.load(bundle, engine="onnxruntime", threads=1, fused=False)
    return [Detector.enroll(encoder, frames, recipe=recipe) for encoder in (load(bundle), staged)]


def assert_agree(one, other, frame):
    one, other = one(frame), other(frame)
    assert one.score == pytest.approx(other.score, abs=1e-5)
    assert one.patch_distances == pytest.approx(other.patch_distances, abs=1e-5)
    assert one.map == pytest.approx(other.map, abs=1e-4)


def assert_nothing_left(gpu):
    gc.collect()
    assert gpu.leaks() == []


# -- a detector --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["cuda-bindings", "pycuda"])
@pytest.mark.parametrize(
    "changes", [{"mask": "off"}, {"mask": "on"}, {"layers": (1, 2), "mask": "off"}], ids=str
)
def test_it_gives_what_the_stages_give(plug_in, two_layers, good_frames, defective, changes, through):
    gpu = SimulatedGpu()
    plug_in(gpu, through=through)
    build_engine(two_layers, "tensorrt")
    recipe = get_recipe("anomalydino-informed").with_(**changes)
    fused, staged = on_gpu_and_by_stages(two_layers, good_frames[:3], recipe)
    for frame in (defective.frame, good_frames[4], good_frames[0], defective.frame):
        assert_agree(fused, staged, frame)
    assert fused.threshold == pytest.approx(staged.threshold, abs=1e-5)
    assert fused.encoder.engine_name == "tensorrt/cuda/fp32"
    fused.encoder.close()
    del fused
    assert_nothing_left(gpu)


def test_a_detector_is_loaded_by_the_engines_name_alone(gpu, bundle, good_frames, defective, quick, tmp_path):
    assert [default_device(name) for name in ("tensorrt", "auto", "openvino")] == ["cuda", "cpu", "cpu"]
    detector = Detector.enroll(Encoder.load(bundle, engine="onnxruntime"), good_frames[:3], recipe=quick)
    detector.save(tmp_path / "part.edgead", self_contained=True)
    with pytest.raises(EngineUnavailableError, match="no tensorrt engine was built") as caught:
        Detector.load(tmp_path / "part.edgead", engine="tensorrt")
    assert f"edgead-runtime build {tmp_path / 'part.edgead'} --engine tensorrt" in caught.value.remedy
    built = build_engine(tmp_path / "part.edgead", "tensorrt")
    assert built.path.parent == tmp_path / "cache" / "engines"
    with Detector.load(tmp_path / "part.edgead", engine="tensorrt") as loaded:
        assert loaded(defective.frame).score == pytest.approx(detector(defective.frame).score, abs=1e-5)
        with pytest.raises(EngineUnavailableError, match="cannot run on 'cpu'"):
            Detector.load(tmp_path / "part.edgead", engine="tensorrt", device="cpu")
    del loaded
    assert_nothing_left(gpu)


def test_the_environment_can_say_it(gpu, bundle, part, monkeypatch):
    monkeypatch.setenv("EDGEAD_ENGINE", "tensorrt")
    build_engine(bundle, "tensorrt")
    with Encoder.load(bundle) as encoder:
        assert encoder.engine_name == "tensorrt/cuda/fp32"


def test_a_frame_is_captured_and_then_launched(gpu, bundle, good_frames, quick):
    build_engine(bundle, "tensorrt")
    fused, staged = on_gpu_and_by_stages(bundle, good_frames[:3], quick)
    launched = []
    for frame in (*good_frames, *good_frames):
        assert_agree(fused, staged, frame)
        launched.append(gpu.launches)
    assert np.diff(launched)[2:].tolist() == [1] * (len(launched) - 3)
    enqueued = gpu.calls["cudaMemcpyAsync"]
    fused(good_frames[0])
    assert gpu.calls["cudaMemcpyAsync"] == enqueued
    for detector in (fused, staged):
        detector.add_good(good_frames[4])
    for frame in good_frames:
        before = gpu.launches
        staged_too = Detector.enroll(staged.encoder, [*good_frames[:3], good_frames[4]], recipe=quick)
        assert_agree(fused, staged_too, frame)
    assert gpu.launches == before + 1


def test_detectors_that_take_turns_have_a_graph_each(gpu, bundle, part, quick):
    build_engine(bundle, "tensorrt")
    with load(bundle) as encoder:
        banks = ([part(0), part(1)], [part(number) for number in range(2, 5)], [part(5), part(6)])
        detectors = [Detector.enroll(encoder, frames, recipe=quick) for frames in banks]
        expected = [[detector(part(9)).score for detector in detectors] for _ in range(3)][-1]
        launches = gpu.launches
        for _ in range(3):
            scores = [detector(part(9)).score for detector in detectors]
            assert scores == pytest.approx(expected, abs=1e-7)
        assert gpu.launches == launches + 9


def test_ctrl_c_in_the_middle_of_a_capture(gpu, bundle, part, quick, monkeypatch):
    from simulated_gpu import tensorrt as simulated

    build_engine(bundle, "tensorrt")
    detector = Detector.enroll(load(bundle), [part(0), part(1)], recipe=quick)
    expected = detector(part(9)).score

    def interrupted(self, stream_handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(simulated.IExecutionContext, "execute_async_v3", interrupted)
        with pytest.raises(KeyboardInterrupt):
            detector(part(9))
    for _ in range(4):
        assert detector(part(9)).score == pytest.approx(expected, abs=1e-6)
    detector.encoder.close()
    del detector
    assert_nothing_left(gpu)


def test_what_cannot_be_captured_runs_all_the_same(plug_in, bundle, good_frames, quick):
    gpu = SimulatedGpu(can_capture=False)
    plug_in(gpu)
    build_engine(bundle, "tensorrt")
    fused, staged = on_gpu_and_by_stages(bundle, good_frames[:3], quick)
    for frame in good_frames:
        assert_agree(fused, staged, frame)
    assert gpu.launches == 0
    tried = gpu.calls["cudaStreamBeginCapture"]
    fused(good_frames[0])
    assert gpu.calls["cudaStreamBeginCapture"] == tried


def test_adding_copies_what_was_added(gpu, bundle, part, quick):
    build_engine(bundle, "tensorrt")
    fused, staged = on_gpu_and_by_stages(bundle, [part(0), part(1)], quick)
    block = 64 * 16 * 4
    copied = []
    for number in range(2, 7):
        before = gpu.bytes_up[False]
        for detector in (fused, staged):
            detector.add_good(part(number))
        copied.append((gpu.bytes_up[False] - before) // block)
        assert_agree(fused, staged, part(50))
    assert copied == [3, 1, 5, 1, 1]  # all of it where the array grew; what was added where it had room
    before = gpu.bytes_up[False]
    fused.undo()
    staged.undo()
    assert gpu.bytes_up[False] - before < block
    assert_agree(fused, staged, part(50))


def test_banks_that_are_no_longer_used_give_their_memory_back(gpu, bundle, part, quick):
    build_engine(bundle, "tensorrt")
    detector = Detector.enroll(load(bundle), [part(0), part(1)], recipe=quick)
    detector(part(9))
    before = gpu.used
    for _ in range(12):
        detector.add_good(part(2))
        detector(part(9))
        detector.undo()
        detector(part(9))
    gc.collect()
    detector(part(9))
    assert gpu.used <= before + 6 * 64 * 16 * 4


def test_two_detectors_in_two_threads(gpu, bundle, part, quick):
    build_engine(bundle, "tensorrt")
    with load(bundle) as encoder:
        kinds = [[part(number) for number in range(3)], [255 - part(number) for number in range(3)]]
        detectors = [Detector.enroll(encoder, frames, recipe=quick) for frames in kinds]
        expected = [detector(part(40)).score for detector in detectors]
        assert expected[1] > 2 * expected[0]

        def look(number, detectors=detectors):
            return number % 2, detectors[number % 2](part(40)).score

        with ThreadPoolExecutor(5) as pool:
            for which, score in pool.map(look, range(60)):
                assert score == pytest.approx(expected[which], abs=1e-6)
        assert len(encoder._engine._idle) <= 2
    del detectors, look
    assert_nothing_left(gpu)


def test_the_bank_changes_while_frames_run(gpu, bundle, part, quick):
    build_engine(bundle, "tensorrt")
    with load(bundle) as encoder:
        detector = Detector.enroll(encoder, [part(0), part(1)], recipe=quick)
        probe = part(30)
        without = detector(probe).score
        scores, failures, done = [], [], threading.Event()

        def look():
            while not done.is_set():
                try:
                    scores.append(detector(probe).score)
                except BaseException as error:  # noqa: BLE001
                    failures.append(error)
                    return

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(15):
            detector.add_good(probe)
            detector.undo()
        done.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert all(min(abs(score - without), abs(score)) < 1e-5 for score in scores)


# -- what goes wrong on a GPU ------------------------------------------------------------------------------


def test_no_memory_for_a_larger_bank(plug_in, bundle, part, quick):
    gpu = SimulatedGpu()
    plug_in(gpu)
    build_engine(bundle, "tensorrt")
    detector = Detector.enroll(load(bundle), [part(0), part(1)], recipe=quick)
    before = detector(part(9)).score
    gpu.memory = gpu.used
    with pytest.raises(GpuMemoryError, match="memory is used up") as caught:
        detector.add_good(part(2))
    assert "smaller bank" in caught.value.remedy
    assert len(detector.references) == 2
    assert detector(part(9)).score == before
    gpu.memory *= 2
    detector.add_good(part(2))
    assert detector(part(2)).score == pytest.approx(0, abs=1e-5)


def test_no_memory_for_the_first_frame(plug_in, bundle, part):
    gpu = SimulatedGpu()
    module = plug_in(gpu)
    build_engine(bundle, "tensorrt")
    gpu.memory = 10_000
    with load(bundle) as encoder:
        with pytest.raises(GpuMemoryError):
            encoder.encode(part(0))
        gpu.memory = 1 << 28
        assert np.isfinite(encoder.encode(part(0)).tokens).all()
    module.contexts_left = 0
    with load(bundle) as encoder, pytest.raises(GpuMemoryError, match="no room to run"):
        encoder.encode(part(0))
    assert_nothing_left(gpu)


@pytest.mark.parametrize(
    "error", ["cudaErrorLaunchFailure", "cudaErrorIllegalAddress", "cudaErrorECCUncorrectable"]
)
@pytest.mark.parametrize("frames", [0, 1, 2, 5])
def test_the_gpu_is_lost_in_the_middle(gpu, bundle, part, quick, frames, error):
    build_engine(bundle, "tensorrt")
    detector = Detector.enroll(load(bundle), [part(0), part(1)], recipe=quick)
    for number in range(frames):
        detector(part(number))
    gpu.lose(error)
    for _ in range(3):
        with pytest.raises(GpuLostError, match=error) as caught:
            detector(part(9))
        assert "Start the program again" in caught.value.remedy
    with pytest.raises(GpuLostError):
        detector.add_good(part(9))
    assert len(detector.references) == 2
    detector.encoder.close()  # without an error
    with pytest.raises(EngineUnavailableError, match="closed"):
        detector(part(9))


@pytest.mark.parametrize(
    ("call", "frames"),
    [
        ("cudaMemcpyAsync", 0),
        ("cudaMallocHost", 0),
        ("cudaStreamSynchronize", 0),
        ("cudaStreamBeginCapture", 1),
        ("cudaGraphInstantiate", 1),
        ("cudaGraphLaunch", 3),
    ],
)
def test_any_call_that_fails_once(gpu, bundle, part, quick, call, frames):
    build_engine(bundle, "tensorrt")
    detector = Detector.enroll(load(bundle), [part(0), part(1)], recipe=quick)
    for _ in range(frames):
        detector(part(9))
    gpu.fail(call, "cudaErrorInvalidValue")
    with pytest.raises(GpuError, match=f"{call}: cudaErrorInvalidValue") as caught:
        detector(part(9))
    assert "doctor" in caught.value.remedy
    scores = [detector(part(9)).score for _ in range(4)]
    assert scores == pytest.approx([scores[0]] * 4, abs=1e-6)
    detector.encoder.close()
    del detector, caught
    assert_nothing_left(gpu)


def test_a_call_that_fails_in_a_capture_is_made_again_outside(gpu, bundle, part, quick):
    build_engine(bundle, "tensorrt")
    detector = Detector.enroll(load(bundle), [part(0), part(1)], recipe=quick)
    expected = detector(part(9)).score
    launches = gpu.launches
    gpu.fail("cudaMemcpyAsync", "cudaErrorInvalidValue")
    for _ in range(3):
        assert detector(part(9)).score == pytest.approx(expected, abs=1e-6)
    assert gpu.launches == launches


def test_closing_while_frames_run(gpu, bundle, part, quick):
    build_engine(bundle, "tensorrt")
    encoder = load(bundle)
    detector = Detector.enroll(encoder, [part(0), part(1)], recipe=quick)
    ends = []

    def look(detector=detector, ends=ends):
        try:
            while True:
                detector(part(9))
        except EngineUnavailableError as error:
            ends.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        if gpu.launches >= 3 or ends:
            break
        time.sleep(0.01)
    encoder.close()
    encoder.close()
    for thread in threads:
        thread.join(timeout=20)
    assert len(ends) == 4
    with pytest.raises(EngineUnavailableError, match="closed"):
        encoder.upload(np.zeros(3, np.float32))
    del detector, ends, look, threads
    assert_nothing_left(gpu)


# -- the engine by itself ----------------------------------------------------------------------------------


class OnGpu:
    """An array of another library on the simulated GPU."""

    def __init__(self, gpu, array, strides=None, stream=None):
        self._gpu, self._address = gpu, gpu.allocate(array.nbytes)
        gpu.bytes_at(self._address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
        self.__cuda_array_interface__ = {
            "data": (self._address, False),
            "shape": array.shape,
            "typestr": array.dtype.str,
            "strides": strides,
            "stream": stream,
            "version": 3,
        }


@pytest.fixture
def sum_engine(gpu, bundle, sum_model):
    """``left + right``, built and loaded by hand: the engine knows nothing of encoders."""
    from edgead_runtime.tensorrt.api import FLAVOURS
    from edgead_runtime.tensorrt.builder import build_plan
    from edgead_runtime.tensorrt.engine import TensorRtEngine

    record = build_engine(bundle, "tensorrt").record
    trt = __import__("tensorrt")
    plan = build_plan(trt, FLAVOURS["tensorrt"], sum_model, BuildOptions())
    with TensorRtEngine(trt, FLAVOURS["tensorrt"], device_module.open_device(), plan.data, record) as engine:
        yield engine


LEFT, RIGHT = np.array([1, 2, 3, 4], np.float32), np.array([10, 20, 30, 40], np.float32)


def test_arrays_that_are_on_the_gpu_are_not_copied(sum_engine, gpu):
    right = OnGpu(gpu, RIGHT, strides=(4,), stream=gpu.new_stream())
    for _ in range(4):
        before = dict(gpu.bytes_up)
        assert sum_engine.run({"left": LEFT, "right": right})["total"].tolist() == [11, 22, 33, 44]
        assert gpu.bytes_up[False] == before[False]
        assert gpu.bytes_up[True] - before[True] in (0, LEFT.nbytes)  # a graph's copies are not counted again
    with pytest.raises(PictureError, match="not contiguous"):
        sum_engine.run({"left": LEFT, "right": OnGpu(gpu, RIGHT, strides=(8,))})
    with pytest.raises(PictureError, match="float64"):
        sum_engine.run({"left": LEFT, "right": OnGpu(gpu, RIGHT.astype(np.float64))})


def test_time_on_the_gpus_own_clock(sum_engine, gpu):
    feeds = {name: sum_engine.upload(array) for name, array in (("left", LEFT), ("right", RIGHT))}
    copied, launched = gpu.bytes_up.copy(), gpu.launches
    assert all(sum_engine.time_run(feeds) >= 0 for _ in range(4))
    assert gpu.launches - launched == 3  # all but the first
    assert gpu.bytes_up == copied
    assert sum_engine.time_run({**feeds, "left": LEFT}, ["total"]) >= 0
    assert gpu.bytes_up[True] - copied[True] == LEFT.nbytes
    gpu.fail("cudaEventElapsedTime", "cudaErrorInvalidValue")
    with pytest.raises(GpuError, match="cudaEventElapsedTime"):
        sum_engine.time_run(feeds)
    assert not any("events" in left for left in gpu.leaks())
    assert sum_engine.time_run(feeds) >= 0
    gpu.lose()
    with pytest.raises(GpuLostError):
        sum_engine.time_run(feeds)


def test_time_on_the_gpus_own_clock_through_pycuda(plug_in, bundle):
    from edgead_runtime.tensorrt.opening import open_engine

    gpu = SimulatedGpu()
    plug_in(gpu, through="pycuda")
    build_engine(bundle, "tensorrt", graph="encoder")
    model = EncoderBundle.open(bundle).read_model()
    picture = np.zeros((1, 3, 112, 112), np.float32)
    options = EngineOptions(device="cuda", bundle=str(bundle))
    with open_engine(model, options, "tensorrt") as engine:
        assert all(engine.time_run({"image": picture}, ["patch_features_1"]) >= 0 for _ in range(3))
    assert_nothing_left(gpu)


def test_what_was_uploaded_belongs_to_the_caller(sum_engine):
    one, other = sum_engine.upload(RIGHT), sum_engine.upload(np.array([0, 0, 0, 1], np.float32))
    for _ in range(4):
        assert sum_engine.run({"left": LEFT, "right": one})["total"].tolist() == [11, 22, 33, 44]
        assert sum_engine.run({"left": LEFT, "right": other})["total"].tolist() == [1, 2, 3, 5]
        assert sum_engine.run({"left": one, "right": one})["total"].tolist() == [20, 40, 60, 80]


def test_an_array_that_was_let_go_of_may_change(sum_engine):
    array = RIGHT.copy()
    first = sum_engine.upload(array)
    assert sum_engine.run({"left": LEFT, "right": first})["total"].tolist() == [11, 22, 33, 44]
    del first
    gc.collect()
    array[:] = 0
    again = sum_engine.upload(array)
    assert sum_engine.run({"left": LEFT, "right": again})["total"].tolist() == LEFT.tolist()


def test_a_small_part_of_something_large_goes_alone(sum_engine, gpu):
    large = np.arange(100_000, dtype=np.float32)
    before = gpu.used
    part = sum_engine.upload(large[:4])
    assert gpu.used - before < 1000
    assert sum_engine.run({"left": LEFT, "right": part})["total"].tolist() == [1, 3, 5, 7]


def test_what_does_not_fit(sum_engine, gpu, bundle, part, quick):
    with pytest.raises(PictureError, match="input 'left' is float64, the engine takes float32"):
        sum_engine.run({"left": LEFT.astype(np.float64), "right": RIGHT})
    with pytest.raises(GpuError, match="refuses the shape"):
        sum_engine.run({"left": LEFT[:3].copy(), "right": RIGHT})


def test_a_bank_that_the_engine_has_no_room_for(gpu, bundle, part, quick, tmp_path):
    """What a person teaches must not be what every later frame fails of."""
    build_engine(bundle, "tensorrt", BuildOptions(bank_blocks=(1, 3)))
    encoder = load(bundle)
    detector = Detector.enroll(encoder, [part(0), part(1)], recipe=quick)
    detector.add_good(part(2))
    expected = detector(part(5)).score
    for _ in range(2):
        with pytest.raises(
            EngineUnavailableError, match=r"'bank' is \[4, 64, 16\], .* up to \[3, 64, 16\]"
        ) as caught:
            detector.add_good(part(3))
        assert len(detector.references) == 3
        assert detector(part(5)).score == pytest.approx(expected, abs=1e-7)
    detector.undo()
    detector.add_good(part(3))
    remedy = caught.value.remedy
    assert "--bank-blocks 1 3 --bank-blocks 4 8" in remedy

    staged = Encoder.load(bundle, engine="onnxruntime", threads=1, fused=False)
    Detector.enroll(staged, [part(n) for n in range(4)], recipe=quick).save(tmp_path / "part.edgead")
    with pytest.raises(EngineUnavailableError, match="built for up to"):
        Detector.load(tmp_path / "part.edgead", encoder=encoder)
    encoder.close()
    assert command.main(shlex.split(remedy.split(": edgead-runtime ", 1)[1])) == 0
    with Detector.load(tmp_path / "part.edgead", encoder=bundle, engine="tensorrt") as loaded:
        assert len(loaded.references) == 4
        loaded(part(5))


def test_an_engine_for_a_detector_has_room_for_its_bank(gpu, bundle, part, quick, tmp_path):
    staged = Encoder.load(bundle, engine="onnxruntime", threads=1, fused=False)
    path = tmp_path / "part.edgead"
    Detector.enroll(staged, [part(n) for n in range(4)], recipe=quick).save(path)
    built = build_engine(path, "tensorrt", BuildOptions(bank_blocks=(1, 3)))
    assert built.record.options.bank_blocks == (4, 5)
    with Detector.load(path, engine="tensorrt") as loaded:
        loaded.add_good(part(4))
        loaded(part(5))
    assert build_engine(path, "tensorrt").record.options.bank_blocks == BuildOptions().bank_blocks


def test_what_tensorrt_says_for_weeks_is_not_kept(sum_engine):
    logger, severity = sum_engine._logger, sum_engine._logger.Severity
    for number in range(1000):
        for level in (severity.ERROR, severity.WARNING, severity.INFO):
            logger.log(level, f"message {number}")
    kept = sum_engine._messages
    assert max(map(len, (kept.errors, kept.warnings, kept.details))) < 100
    assert kept.last_error() == "message 999"


# -- building, and what stands beside an engine ------------------------------------------------------------


def test_building(plug_in, bundle, cache):
    gpu = SimulatedGpu(integrated=False)
    module = plug_in(gpu)
    steps = []
    options = BuildOptions(
        workspace_mib=64, optimization_level=5, hardware="ampere-plus", version_compatible=True
    )
    built = build_engine(bundle, "tensorrt", options, progress=lambda *step: steps.append(step))
    (config,) = module.configs
    assert config._flags == {BuilderFlag.VERSION_COMPATIBLE}
    assert config._pools == {MemoryPoolType.WORKSPACE: 64 << 20}
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level is HardwareCompatibilityLevel.AMPERE_PLUS
    assert config._profiles[0]._shapes["bank"] == [[1, 64, 16], [16, 64, 16], [256, 64, 16]]
    assert steps[0] == ("Building engine", 0.0)
    assert ("Building engine", 1.0) in steps
    assert built.record.gpu.name == "Simulated Orin"
    assert (built.record.gpu.sm, built.record.gpu.driver, built.record.tensorrt) == (87, "12.6", "10.3.0")
    assert built.record.rebuild.endswith(
        "--workspace-mib 64 --optimization-level 5 --hardware ampere-plus --version-compatible"
    )
    times = cache / "engines"
    assert [path.read_bytes() for path in times.glob("times-*.cache")] == [b"t"]
    build_engine(bundle, "tensorrt")
    assert [path.read_bytes() for path in times.glob("times-*.cache")] == [b"tt"]
    build_engine(bundle, "tensorrt", BuildOptions(timing_cache=False, tf32=True))
    assert [path.read_bytes() for path in times.glob("times-*.cache")] == [b"tt"]
    assert BuilderFlag.TF32 in module.configs[-1]._flags
    assert_nothing_left(gpu)


# -- the parity gate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["encoder", "frame"])
def test_an_engine_is_compared_before_it_is_written(gpu, two_layers, graph):
    seen = []
    built = build_engine(two_layers, "tensorrt", graph=graph, progress=lambda *step: seen.append(step))
    parity = built.record.parity
    assert (parity.pictures, parity.passed) == (4, True)
    assert parity.cosine_min > 0.99999
    assert parity.rank_correlation_min > 0.9999
    assert seen[-1] == ("Comparing with ONNX Runtime", 0.0)
    assert any("On 4 pictures it agrees with ONNX Runtime" in line for line in built.lines())
    assert_nothing_left(gpu)


WRONG = {
    "noise": lambda value: value + 0.5 * np.random.default_rng(0).standard_normal(value.shape),
    "not numbers": lambda value: value * np.nan,
    "all the same": lambda value: np.full_like(value, 0.5),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("output", ["patch_features_1", "distances"])
def test_one_that_computes_something_else_is_not(gpu, bundle, monkeypatch, wrong, output):
    from simulated_gpu import tensorrt as simulated

    genuine = simulated.IExecutionContext._run

    def run(self, feeds):
        found = genuine(self, feeds)
        return {**found, output: wrong(found[output]).astype(np.float32)}

    monkeypatch.setattr(simulated.IExecutionContext, "_run", run)
    with pytest.raises(EngineBuildError, match="does not compute what its fp32 ONNX file computes") as caught:
        build_engine(bundle, "tensorrt")
    assert "fp16 or bf16" in caught.value.remedy
    assert "10.3.0" in caught.value.remedy
    assert not list(bundle.glob("engines/*.plan"))
    del caught
    assert_nothing_left(gpu)
    unchecked = build_engine(bundle, "tensorrt", unchecked=True)
    assert unchecked.record.parity is None
    assert any("has not been compared" in line for line in unchecked.lines())


def test_distances_that_are_in_order_and_twice_too_large(gpu, bundle, monkeypatch):
    from simulated_gpu import tensorrt as simulated

    genuine = simulated.IExecutionContext._run

    def run(self, feeds):
        found = genuine(self, feeds)
        return {**found, "distances": 2 * found["distances"]}

    monkeypatch.setattr(simulated.IExecutionContext, "_run", run)
    with pytest.raises(EngineBuildError, match=r"distances 1\.0000, distances off by 100\.0%"):
        build_engine(bundle, "tensorrt")


def test_what_is_no_number_passes_nowhere():
    """Python's min and max pass over a NaN that is not the first."""
    from edgead_runtime.tensorrt.parity import MapAgreement, _verdict

    sound = MapAgreement(1.0, 0.0)
    assert _verdict([1.0, 1.0], [sound, sound], "fp32").passed
    nan = float("nan")
    for cosines, maps in (
        ([1.0, nan], [sound, sound]),
        ([1.0, 1.0], [sound, MapAgreement(nan, 0.0)]),
        ([1.0, 1.0], [sound, MapAgreement(1.0, nan)]),
        ([1.0, float("inf")], [sound]),
    ):
        found = _verdict(cosines, maps, "fp32")
        assert not found.passed
        assert decode_parity(found) == found  # JSON has no NaN


def decode_parity(parity):
    import msgspec

    return msgspec.json.decode(msgspec.json.encode(parity), type=type(parity))


def test_ones_own_pictures(gpu, bundle, part, tmp_path):
    for number in range(3):
        folder = tmp_path / "pictures"
        folder.mkdir(exist_ok=True)
        Image.fromarray(part(number)).save(folder / f"{number}.png")
    assert build_engine(bundle, "tensorrt", pictures=folder).record.parity.pictures == 3
    for number in range(2):
        (folder / f"{number}.png").unlink()
    with pytest.raises(PictureError, match="has 1 pictures"):
        build_engine(bundle, "tensorrt", pictures=folder)


def test_without_anything_to_compare_with(gpu, bundle, monkeypatch):
    from edgead_runtime.tensorrt import parity

    monkeypatch.setattr(parity, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match="compared with ONNX Runtime") as caught:
        build_engine(bundle, "tensorrt")
    assert "--unchecked" in caught.value.remedy
    assert gpu.calls["cudaMalloc"] == 0
    build_engine(bundle, "tensorrt", unchecked=True)


def test_11_takes_networks_as_they_are(plug_in, bundle, good_frames, quick):
    plug_in(SimulatedGpu(), version="11.4.0.106")
    assert build_engine(bundle, "tensorrt").record.tensorrt == "11.4.0.106"
    fused, staged = on_gpu_and_by_stages(bundle, good_frames[:2], quick)
    assert_agree(fused, staged, good_frames[3])


def test_a_precision_is_a_file_of_the_bundle(gpu, bundle):
    with pytest.raises(BundleError, match="has no fp16 file"):
        build_engine(bundle, "tensorrt", precision="fp16")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"].append({**manifest["files"][0], "precision": "fp16"})
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="has no frame graph in fp16"):
        build_engine(bundle, "tensorrt", graph="frame", precision="fp16")
    record = build_engine(bundle, "tensorrt", precision="fp16").record
    assert (record.graph, record.precision) == ("encoder", "fp16")
    assert record.rebuild.endswith("--engine tensorrt --precision fp16")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp8"])
def test_a_search_is_in_fp32_whatever_the_encoder(gpu, bundle, precision):
    """The bundle's int8 file is one for processors, which TensorRT does not take, and it has no fp16 one."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"].append({**manifest["files"][0], "precision": "int8"})
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    record = build_engine(bundle, "tensorrt", graph="search", precision=precision, neighbours=2).record
    assert (record.graph, record.precision) == ("search", "fp32")
    assert record.rebuild.endswith("--graph search --neighbours 2")


@pytest.mark.parametrize("neighbours", [0, 8193, 10**30], ids=["none", "too many", "no number"])
def test_a_search_for_no_such_number(gpu, bundle, neighbours):
    with pytest.raises(EngineBuildError, match="there is no search for"):
        build_engine(bundle, "tensorrt", graph="search", neighbours=neighbours)


def test_ctrl_c_while_it_is_built(gpu, bundle):
    """It comes up where progress is told, inside TensorRT, which no exception may pass through."""

    def interrupted(what, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(bundle, "tensorrt", progress=interrupted)
    assert not list(bundle.glob("engines/*.plan"))
    build_engine(bundle, "tensorrt")
    assert_nothing_left(gpu)


def test_what_cannot_be_built(gpu, bundle, sum_model, tmp_path):
    with pytest.raises(EngineBuildError, match="cannot build for a whole compute capability") as caught:
        build_engine(bundle, "tensorrt", BuildOptions(hardware="same-capability"))
    assert "10.9" in caught.value.remedy
    with pytest.raises(EngineBuildError, match="not for others"):
        build_engine(bundle, "tensorrt", BuildOptions(sm=(86,)))
    with pytest.raises(BundleError, match="does not exist"):
        build_engine(tmp_path / "nothing", "tensorrt")
    assert not [path for path in bundle.glob("engines/*") if path.name != LOCK_NAME]


DIFFERENT = {
    "gpu": ({"name": "Another Orin"}, "10.3.0", "built on Simulated Orin .*, here is Another Orin"),
    "generation": ({"sm": 86}, "10.3.0", r"compute capability 87\), here is Simulated Orin \(86\)"),
    "tensorrt": ({}, "10.7.0", "built by TensorRT 10.3.0, here is 10.7.0"),
    "driver": ({"driver": 12040}, "10.3.0", r"a driver for CUDA 12\.6, here is one for 12\.4"),
}


@pytest.mark.parametrize(("gpu_facts", "version", "problem"), DIFFERENT.values(), ids=DIFFERENT)
def test_an_engine_of_another_machine(plug_in, bundle, gpu_facts, version, problem):
    plug_in(SimulatedGpu())
    build_engine(bundle, "tensorrt", BuildOptions(bank_blocks=(4, 8)))
    plug_in(SimulatedGpu(**gpu_facts), version)
    with pytest.raises(EngineMismatchError, match=problem) as caught:
        load(bundle)
    assert f"edgead-runtime build {bundle} --engine tensorrt --bank-blocks 4 8" in caught.value.remedy
    build_engine(bundle, "tensorrt", BuildOptions(bank_blocks=(4, 8)))
    load(bundle).close()


def test_a_newer_driver_is_fine(plug_in, bundle, part):
    plug_in(SimulatedGpu(driver=12060))
    build_engine(bundle, "tensorrt")
    for newer in (12080, 12100, 13000):
        plug_in(SimulatedGpu(driver=newer))
        with load(bundle) as encoder:
            encoder.encode(part(0))


def test_an_engine_of_another_system(gpu, bundle, monkeypatch):
    from edgead_runtime.tensorrt import record

    built = build_engine(bundle, "tensorrt")
    assert built.record.platform == record.this_platform()
    with monkeypatch.context() as patch:
        patch.setattr(record, "this_platform", lambda: "linux-aarch64")
        with pytest.raises(EngineMismatchError, match=r"built on .*, here is linux-aarch64"):
            load(bundle)
    beside = built.path.with_suffix(".json")
    fields = json.loads(beside.read_text())
    del fields["platform"], fields["parity"]["distance_error_max"]  # an engine of an earlier release
    beside.write_text(json.dumps(fields))
    load(bundle).close()


def test_engines_that_are_made_to_last(plug_in, bundle, part):
    plug_in(SimulatedGpu(sm=89, name="A", integrated=False))
    build_engine(bundle, "tensorrt", BuildOptions(hardware="ampere-plus", version_compatible=True))
    plug_in(SimulatedGpu(sm=120, name="B", integrated=False), "10.9.0")
    load(bundle).close()
    for other in ({"sm": 120, "integrated": True}, {"sm": 75, "integrated": False}):
        plug_in(SimulatedGpu(name="C", **other), "10.9.0")
        with pytest.raises(EngineMismatchError, match="here is C") as caught:
            load(bundle)
        assert "--hardware" not in caught.value.remedy  # which would not run here either
        with pytest.raises(EngineBuildError, match="would not run on C"):
            build_engine(bundle, "tensorrt", BuildOptions(hardware="ampere-plus"))
        load(bundle, rebuild=True).close()
        load(bundle).close()
        plug_in(SimulatedGpu(sm=89, name="A", integrated=False))
        build_engine(bundle, "tensorrt", BuildOptions(hardware="ampere-plus", version_compatible=True))
    plug_in(SimulatedGpu(sm=89, name="A"), "10.9.0.1")
    build_engine(bundle, "tensorrt", BuildOptions(version_compatible=True))
    plug_in(SimulatedGpu(sm=89, name="A"), "10.13.0")
    with load(bundle) as encoder:
        encoder.encode(part(0))
    for other in ("11.0.0", "10.8.0"):
        plug_in(SimulatedGpu(sm=89, name="A"), other)
        with pytest.raises(EngineMismatchError, match=f"here is {other}"):
            load(bundle)


def test_damaged_files(gpu, bundle):
    built = build_engine(bundle, "tensorrt")
    plan, record = built.path, built.path.with_suffix(".json")
    whole = plan.read_bytes()
    plan.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match="damaged"):
        load(bundle)
    plan.unlink()
    with pytest.raises(BundleError, match="cannot read"):
        load(bundle)
    plan.write_bytes(whole)
    text = record.read_text()
    record.write_text(text[:50])
    with pytest.raises(BundleError, match="damaged or of another version"):
        load(bundle)
    record.write_text(text.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(BundleError, match="schema version 2"):
        load(bundle)
    fields = json.loads(text)
    fields["parity"] = {"pictures": 4, "cosine_min": 0.14, "rank_correlation_min": 0.2, "passed": False}
    record.write_text(json.dumps(fields))
    with pytest.raises(EngineMismatchError, match=r"does not compute what the ONNX file computes .*0\.14"):
        load(bundle)
    fields["parity"] = None
    fields["onnx_sha256"] = "0" * 64
    record.write_text(json.dumps(fields))
    with pytest.raises(EngineMismatchError, match="another ONNX file"):
        load(bundle)


def test_without_a_gpu(plug_in, bundle):
    plug_in(None)
    for call in (lambda: build_engine(bundle, "tensorrt"), lambda: open_without_tensorrt(bundle)):
        with pytest.raises(EngineUnavailableError, match=r"CUDA finds no GPU .cudaErrorInsufficientDriver"):
            call()


def open_without_tensorrt(bundle):
    from edgead_runtime.engines.tensorrt import create

    return create(
        EncoderBundle.open(bundle).read_frame_graph(), EngineOptions(device="cuda", bundle=str(bundle))
    )


def test_without_pycudas_gpu(plug_in):
    plug_in(None, through="pycuda")
    with pytest.raises(EngineUnavailableError, match="CUDA finds no GPU"):
        device_module.open_device()


@pytest.mark.parametrize("call", ["name", "driver"])
def test_pycudas_errors_are_typed_wherever_they_come_up(plug_in, bundle, call):
    gpu = SimulatedGpu()
    plug_in(gpu, through="pycuda")
    gpu.fail(call, "cudaErrorInvalidValue")
    with pytest.raises(GpuError, match="cudaErrorInvalidValue"):
        load(bundle)
    gpu.fail("retain", "cudaErrorMemoryAllocation")
    with pytest.raises(EngineUnavailableError, match="does not open the GPU"):
        load(bundle)


def test_without_a_way_to_a_gpu(monkeypatch):
    monkeypatch.setattr(device_module, "IMPLEMENTATIONS", {"no.such.module": None})
    with pytest.raises(EngineUnavailableError, match="nothing is installed to reach an NVIDIA GPU") as caught:
        device_module.open_device()
    assert "edgead-runtime[tensorrt]" in caught.value.remedy


def test_auto_leaves_out_what_was_not_built(gpu, bundle, sum_model):
    with pytest.raises(EngineUnavailableError):
        create_engine(sum_model, "auto", EngineOptions(device="cuda"))


def test_an_output_in_a_type_that_numpy_has_not(gpu, bundle):
    kind = type("DataType", (), {"name": "BF16"})
    from simulated_gpu import tensorrt as simulated

    build_engine(bundle, "tensorrt")
    original = simulated.ICudaEngine.get_tensor_dtype
    simulated.ICudaEngine.get_tensor_dtype = lambda self, name: kind
    try:
        with pytest.raises(BundleError, match="BF16, which NumPy has no type for"):
            load(bundle)
    finally:
        simulated.ICudaEngine.get_tensor_dtype = original


def test_an_unknown_operator_is_named(gpu, bundle, tmp_path):
    from edgead_runtime.tensorrt.api import FLAVOURS
    from edgead_runtime.tensorrt.builder import build_plan

    values = [
        onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [3, 3]), ("out", []))
    ]
    node = onnx.helper.make_node("Det", ["x"], ["out"], name="determinant")
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph).SerializeToString()
    with pytest.raises(EngineBuildError, match=r"Det 'determinant': Unsupported operator\. "):
        build_plan(__import__("tensorrt"), FLAVOURS["tensorrt"], model, BuildOptions())
