"""Frames that lie on the GPU already, on a simulated one."""

import ctypes
import gc
import sys

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.cascade import Band, CascadeDetector
from edgead_runtime.errors import FrameSizeError, PictureError
from edgead_runtime.images import TO_THE_HOST
from edgead_runtime.leading import Companion
from edgead_runtime.streaming.sources.iterables import Frames
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.dlpack import ManagedTensor, read_capsule
from edgead_runtime.tensorrt.on_device import is_on_device
from edgead_runtime.tiered import TieredDetector
from edgead_runtime.unchanged import UnchangedFrames
from simulated_gpu import SimulatedGpu

SIDE = 112
"""Of the mini encoder's input, and of the synthetic parts."""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bundle(add_frame_graph, mini_bundle, tmp_path):
    return add_frame_graph(mini_bundle, tmp_path / "encoder")


@pytest.fixture
def small(part):
    """A part of the size of the encoder's input."""
    return lambda number: np.ascontiguousarray(part(number)[:SIDE, :SIDE])


class ByInterface:
    """An array of another library, which says where it lies by ``__cuda_array_interface__``."""

    def __init__(self, gpu, array, strides=None, stream=None):
        self.address = gpu.allocate(array.nbytes)
        self.gpu, self.array = gpu, array
        self.fill(array)
        self.__cuda_array_interface__ = {
            "data": (self.address, False),
            "shape": array.shape,
            "typestr": array.dtype.str,
            "strides": strides,
            "stream": stream,
            "version": 3,
        }

    def fill(self, array):
        self.gpu.bytes_at(self.address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)


class ByDlpack:
    """The same by DLPack, with a structure as a C library makes it. Counts what is given back."""

    def __init__(self, gpu, array, *, device=(2, 0), strides=None, offset=0, kind=1):
        self.address = gpu.allocate(array.nbytes + offset)
        gpu.bytes_at(self.address + offset, array.nbytes)[:] = array.reshape(-1).view(np.uint8)
        self.array, self.device, self.strides, self.offset, self.kind = array, device, strides, offset, kind
        self.given_back, self.streams, self.kept = 0, [], []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        managed = ManagedTensor()
        tensor = managed.tensor
        sizes = (ctypes.c_int64 * self.array.ndim)(*self.array.shape)
        tensor.data, tensor.byte_offset, tensor.ndim = self.address, self.offset, self.array.ndim
        tensor.device.kind, tensor.device.number = self.device
        tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = self.kind, 8 * self.array.itemsize, 1
        tensor.shape = ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64))
        if self.strides is not None:
            steps = (ctypes.c_int64 * self.array.ndim)(*self.strides)
            tensor.strides = ctypes.cast(steps, ctypes.POINTER(ctypes.c_int64))
            self.kept.append(steps)

        def give_back(_):
            self.given_back += 1

        deleter = dict(ManagedTensor._fields_)["deleter"](give_back)
        managed.deleter = deleter
        self.kept += [managed, sizes, deleter]
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(managed), b"dltensor", None)


@pytest.fixture
def detectors(gpu, bundle, small, quick):
    """On the GPU and on the host, of the same parts."""
    build_engine(bundle, "tensorrt")
    encoders = [Encoder.load(bundle, engine=engine) for engine in ("tensorrt", "onnxruntime")]
    parts = [small(number) for number in range(3)]
    yield [Detector.enroll(encoder, parts, recipe=quick) for encoder in encoders]
    for encoder in encoders:
        encoder.close()


@pytest.mark.parametrize("kind", [ByInterface, ByDlpack])
@pytest.mark.parametrize("through", ["cuda-bindings", "pycuda"])
def test_a_frame_is_taken_where_it_lies(plug_in, bundle, small, quick, kind, through):
    gpu = SimulatedGpu()
    plug_in(gpu, through=through)
    build_engine(bundle, "tensorrt")
    with Encoder.load(bundle, engine="tensorrt") as encoder:
        detector = Detector.enroll(encoder, [small(number) for number in range(3)], recipe=quick)
        expected = [detector(small(number)) for number in (0, 7)]
        frames = [kind(gpu, small(number)) for number in (0, 7)]
        for _ in range(4):  # queued, captured, launched
            for frame, host in zip(frames, expected, strict=True):
                before = sum(gpu.bytes_up.values())
                found = detector(frame)
                assert sum(gpu.bytes_up.values()) - before < small(0).nbytes
                assert found.score == pytest.approx(host.score, abs=1e-6)
                assert found.patch_distances == pytest.approx(host.patch_distances, abs=1e-6)
                assert found.map.shape == (SIDE, SIDE)
                assert set(found.timings_ms) >= {"preprocess", "frame"}


def test_what_is_in_it_may_change_between_two_calls(detectors, gpu, small):
    on_gpu, on_host = detectors
    frame = ByInterface(gpu, small(0), stream=1)
    for number in range(6):
        frame.fill(small(number))
        assert on_gpu(frame).score == pytest.approx(on_host(small(number)).score, abs=1e-5)


def test_with_a_mask(gpu, bundle, small, quick):
    build_engine(bundle, "tensorrt")
    recipe = quick.with_(mask="on")
    with Encoder.load(bundle, engine="tensorrt") as encoder:
        detector = Detector.enroll(encoder, [small(number) for number in range(3)], recipe=recipe)
        found, expected = detector(ByInterface(gpu, small(7))), detector(small(7))
    assert np.array_equal(found.mask, expected.mask)
    assert found.score == pytest.approx(expected.score, abs=1e-6)


def test_dlpack_is_given_back_and_its_stream_waited_for(detectors, gpu, small):
    frame = ByDlpack(gpu, small(3), offset=64, strides=(3 * SIDE, 3, 1))
    assert detectors[0](frame).score == pytest.approx(detectors[1](small(3)).score, abs=1e-5)
    gc.collect()
    assert (frame.given_back, frame.streams) == (1, [1])


def test_what_it_cannot_take(detectors, gpu, small, part):
    on_gpu, on_host = detectors
    with pytest.raises(PictureError, match=r"is on a GPU, and the encoder runs in onnxruntime/cpu") as at:
        on_host(ByInterface(gpu, small(0)))
    assert "Copy it to the host" in at.value.remedy
    wide = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    with pytest.raises(FrameSizeError, match="224 x 112 pixels, the encoder's input is 112 x 112") as at:
        on_gpu(ByInterface(gpu, wide))
    assert "resize it on the GPU" in at.value.remedy
    for wrong in (small(0).astype(np.float32), small(0)[:, :, 0].copy(), small(0)[None]):
        with pytest.raises(PictureError, match=r"must be a uint8 array \[H, W, 3\]"):
            on_gpu(ByInterface(gpu, wrong))
    with pytest.raises(PictureError, match="not contiguous"):
        on_gpu(ByInterface(gpu, small(0), strides=(1, SIDE, SIDE * SIDE)))
    with pytest.raises(PictureError, match="not contiguous"):
        on_gpu(ByDlpack(gpu, small(0), strides=(1, SIDE, SIDE * SIDE)))
    with pytest.raises(PictureError, match="on GPU 1"):
        on_gpu(ByDlpack(gpu, small(0), device=(2, 1)))
    with pytest.raises(PictureError, match="of a type that NumPy has not"):
        on_gpu(ByDlpack(gpu, small(0), kind=4))
    with pytest.raises(PictureError, match="a frame must be"):
        on_gpu(ByDlpack(gpu, small(0), device=(1, 0)))  # DLPack of the host
    assert np.isfinite(on_gpu(small(0)).score)


def test_of_another_size_than_the_good_parts(gpu, bundle, part, small, quick):
    build_engine(bundle, "tensorrt")
    with Encoder.load(bundle, engine="tensorrt") as encoder:
        bigger = np.repeat(np.repeat(small(0), 2, axis=0), 2, axis=1)
        detector = Detector.enroll(encoder, [bigger], recipe=quick)
        with pytest.raises(FrameSizeError, match="the good pictures are"):
            detector(ByInterface(gpu, small(0)))
        detector.any_size = True
        assert np.isfinite(detector(ByInterface(gpu, small(0))).score)


def test_a_method_that_goes_by_the_stages(gpu, bundle, small, quick):
    build_engine(bundle, "tensorrt")
    with Encoder.load(bundle, engine="tensorrt") as encoder:
        detector = Detector.enroll(encoder, [small(0), small(1)], recipe=quick.with_(neighbours=2))
        with pytest.raises(PictureError, match="goes by the stages"):
            detector(ByInterface(gpu, small(0)))


@pytest.mark.parametrize("kind", ["u1", "f4", "i8", "f2"])
def test_a_capsule_of_a_real_library(kind):
    """NumPy's own, which is of the host and otherwise as any."""
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(kind)
    tensor = read_capsule(array.__dlpack__())
    assert (tensor.address, tensor.shape, tensor.dtype) == (array.ctypes.data, (2, 3, 4), array.dtype)
    assert tensor.strides in (None, (12, 4, 1))
    before = sys.getrefcount(array)
    del tensor
    gc.collect()
    assert sys.getrefcount(array) < before  # given back


def test_a_capsule_is_used_once(gpu, small):
    capsule = ByDlpack(gpu, small(0)).__dlpack__()
    read_capsule(capsule)
    with pytest.raises(PictureError, match="used before"):
        read_capsule(capsule)


def test_arrays_of_the_host_are_not_on_a_gpu(gpu, small):
    assert not is_on_device(small(0))
    assert not is_on_device([1, 2])
    assert is_on_device(ByInterface(gpu, small(0)))
    assert is_on_device(ByDlpack(gpu, small(0), device=(13, 0)))


class WithGradient(ByInterface):
    """As torch's tensors on a GPU that require a gradient."""

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.\nMore of it.")

    @__cuda_array_interface__.setter
    def __cuda_array_interface__(self, facts):
        pass


class NotExported(ByDlpack):
    """One whose library refuses DLPack, in the words and by the error of its choice."""

    error = BufferError("Can't export tensors that require gradient, use tensor.detach()")

    def __dlpack__(self, *, stream=None):
        raise self.error


def test_what_its_library_does_not_hand_on(detectors, gpu, small):
    with pytest.raises(PictureError, match=r"requires grad\)") as at:
        detectors[0](WithGradient(gpu, small(0)))
    assert ".detach()" in at.value.remedy
    for error in (NotExported.error, ValueError("no such stream"), TypeError(), RuntimeError("a sparse one")):
        frame = NotExported(gpu, small(0))
        frame.error = error
        with pytest.raises(PictureError, match="does not hand it on") as at:
            detectors[0](frame)
        assert (str(error) or "TypeError") in at.value.problem


def test_one_that_does_not_know_where_it_lies(detectors, gpu, small):
    frame = ByDlpack(gpu, small(0))
    for error in (BufferError("x"), ValueError("x"), RuntimeError("x")):

        def fail(error=error):
            raise error

        frame.__dlpack_device__ = fail
        with pytest.raises(PictureError, match="a frame must be"):
            detectors[0](frame)


def test_real_tensors(detectors):
    """What torch has without a GPU: its errors, and tensors of the host, which are no frames here."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for tensor in (torch.zeros(SIDE, SIDE, 3, requires_grad=True), torch.zeros(2, 2).to_sparse()):
        assert not is_on_device(tensor)
        with pytest.raises(PictureError, match="a frame must be"):
            detectors[0](tensor)


def test_what_begins_on_the_host_says_so(detectors, gpu, small):
    on_gpu, _ = detectors
    frame = ByInterface(gpu, small(0))
    cascade = CascadeDetector(on_gpu, Companion(on_gpu, 1.0, 1.0), Band(0.5, 2.0))
    others = [
        (TieredDetector(on_gpu, [], 1000.0), "latency budget", "without a budget"),
        (cascade, "a cascade", "without the cascade"),
        (UnchangedFrames(on_gpu), "whether it has changed", "skip_unchanged off"),
        (on_gpu.explain, "begins on the host", "engine='tensorrt'"),
        (on_gpu.add_good, "begins on the host", "engine='tensorrt'"),
    ]
    for look, why, instead in others:
        for one in (frame, ByDlpack(gpu, small(0)), WithGradient(gpu, small(0))):
            with pytest.raises(PictureError, match=f"the frame is on a GPU, and .*{why}") as at:
                look(one)
            assert at.value.remedy.startswith(TO_THE_HOST)
            assert instead in at.value.remedy


def test_a_stream_of_frames_on_the_gpu(gpu, small):
    session = Frames([ByInterface(gpu, small(0))]).open()
    with pytest.raises(PictureError, match="the frame is on a GPU"):
        session.read()
