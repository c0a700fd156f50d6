"""A camera's stream on a simulated GPU, which is lost in the middle or short of memory."""

import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.errors import GpuLostError, GpuMemoryError, StreamStoppedError
from edgead_runtime.streaming import Camera, Stream
from edgead_runtime.streaming.sources.iterables import Frames
from edgead_runtime.tensorrt.building import build_engine


@pytest.fixture
def detector(gpu, add_frame_graph, mini_bundle, part, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    bundle = add_frame_graph(mini_bundle, tmp_path / "encoder")
    build_engine(bundle, "tensorrt")
    with Encoder.load(bundle, engine="tensorrt") as encoder:
        yield Detector.enroll(encoder, [part(0), part(1)], recipe=quick)


def frames(part, count, at=None, happens=lambda: None):
    """Parts; before one of them, something happens."""
    for number in range(count):
        if number == at:
            happens()
        yield part(number)


def stream(detector, given, **options):
    return Stream([Camera("line-3", detector, Frames(given))], **options)


def test_a_gpu_that_is_lost_ends_the_stream_at_once(gpu, detector, part):
    """No other frame can be inspected by this process, and a service starts another."""
    seen = []

    def look():
        for result in stream(detector, frames(part, 40, at=10, happens=gpu.lose)):
            seen.append(result)

    with pytest.raises(StreamStoppedError, match=r"line-3 failed for good .*LaunchFailure") as caught:
        look()
    assert "Start the program again" in caught.value.remedy
    assert len(seen) >= 5
    assert all(result.result is not None for result in seen)


def test_a_stream_that_never_gives_up_goes_on(gpu, detector, part):
    seen = list(stream(detector, frames(part, 12, at=6, happens=gpu.lose), give_up_after=0))
    assert len(seen) == 12
    assert isinstance(seen[-1].failure, GpuLostError)


def test_a_frame_that_there_was_no_memory_for_is_one_frame(gpu, detector, part):
    happens = lambda: gpu.fail("cudaStreamSynchronize", "cudaErrorMemoryAllocation")  # noqa: E731
    seen = list(stream(detector, frames(part, 12, at=6, happens=happens)))
    failures = [result.failure for result in seen if result.failure is not None]
    assert [type(failure) for failure in failures] == [GpuMemoryError]
    assert seen[-1].result is not None
