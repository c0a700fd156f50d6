"""Against a real RTSP server on loopback, GStreamer's."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from edgead_runtime import stream
from edgead_runtime.errors import SourceError
from edgead_runtime.streaming import CaptureSettings
from edgead_runtime.streaming.sources import NetworkCamera
from stream_fakes import FakeDetector, Recorder, wait_until

from benchmarks.rtsp import SERVER, SYSTEM_PYTHON, age_ms, camera, free_port

_PROBE = [SYSTEM_PYTHON, str(SERVER), "--probe"]
_HAS_SERVER = (
    Path(SYSTEM_PYTHON).exists()
    and subprocess.run(_PROBE, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"}).returncode
    == 0
)
pytestmark = pytest.mark.skipif(
    not _HAS_SERVER,
    reason="there is no GStreamer RTSP server (Debian: apt install gir1.2-gst-rtsp-server-1.0 python3-gi "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly)",
)
SOON = CaptureSettings(backoff_s=(0.1, 0.3), stall_s=3.0)


@pytest.fixture(params=["opencv", "av"])
def decoder(request):
    if request.param == "av":
        pytest.importorskip("av", reason="PyAV (the extra rtsp) is not installed")
    return request.param


def test_frames_come_and_are_young(decoder):
    port = free_port()
    with camera(port, 640, 480, 25):
        source = NetworkCamera(f"rtsp://127.0.0.1:{port}/camera", decoder=decoder)
        results = list(itertools.islice(stream(FakeDetector(), source), 60))
    frame = results[-1].frame.image
    assert frame.shape == (480, 640, 3)
    assert age_ms(frame) < 60_000  # the bars were read right: a wrong bit is minutes or years


def test_frames_come_over_udp_or_it_is_said_why_not(decoder):
    port = free_port()
    with camera(port, 320, 240, 25):
        source = NetworkCamera(f"rtsp://127.0.0.1:{port}/camera", decoder=decoder, transport="udp")
        running = stream(FakeDetector(), source)
        if decoder == "opencv":  # it would take TCP and say nothing
            with pytest.raises(SourceError, match="over udp, which OpenCV does not do"):
                next(iter(running))
        else:
            results = list(itertools.islice(running, 20))
            assert age_ms(results[-1].frame.image) < 60_000


def test_a_server_that_dies_and_returns(decoder):
    port, heard, seen = free_port(), Recorder(), []
    source = NetworkCamera(f"rtsp://127.0.0.1:{port}/camera", decoder=decoder, timeout_s=2.0)
    running = stream(FakeDetector(), source, capture=SOON, listeners=[heard])
    consumer = threading.Thread(target=lambda: seen.extend(1 for _ in running), daemon=True)
    consumer.start()
    wait_until(lambda: ("lost", "opened") in heard.heard("trouble"))  # nobody there yet
    with camera(port):
        wait_until(lambda: len(seen) > 10, 20)
        assert ("lost", "closed") in heard.heard("trouble")
    wait_until(lambda: heard.heard("trouble").count(("lost", "opened")) == 2, 20)
    before = len(seen)
    with camera(port):
        wait_until(lambda: len(seen) > before + 10, 20)
        running.stop()
        consumer.join(10)
    assert not consumer.is_alive()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_server_that_says_nothing_more_is_noticed(decoder):
    port, heard = free_port(), Recorder()
    source = NetworkCamera(f"rtsp://127.0.0.1:{port}/camera", decoder=decoder, timeout_s=1.0)
    running = stream(FakeDetector(), source, capture=SOON, listeners=[heard])
    consumer = threading.Thread(target=lambda: list(running), daemon=True)
    with camera(port) as process:
        consumer.start()
        wait_until(lambda: len(heard.results) > 5, 20)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: heard.heard("trouble") != [], 15)
        os.kill(process.pid, signal.SIGCONT)
        before = len(heard.results)
        wait_until(lambda: len(heard.results) > before + 5, 20)
        running.stop()
        consumer.join(10)
    assert heard.heard("trouble")[0][0] in ("lost", "stalled")
