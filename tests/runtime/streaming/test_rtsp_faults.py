"""What networks and cameras do to RTSP, against a real server on loopback behind a bad network.

After each fault the loop is alive, it is counted, and pictures are right again. The frames tell when they
were made, so that a picture that was decoded from damaged bytes is told from one that is right.
"""

import gc
import os
import threading
import time
from pathlib import Path

import pytest
from edgead_runtime.streaming import Camera, CaptureSettings, Stream
from edgead_runtime.streaming.sources import NetworkCamera
from rtsp_proxy import Proxy, babbling
from stream_fakes import FakeDetector, Recorder, wait_until
from test_rtsp import pytestmark as needs_server

from benchmarks.rtsp import age_ms, camera, free_port

pytestmark = needs_server
SMALL, OTHER = (320, 240, 25), (448, 256, 25)
SOON = CaptureSettings(backoff_s=(0.1, 0.3), stall_s=4.0, frozen_s=0)
_YOUNG_MS = 20_000
_IN_A_ROW = 6
on_linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


@pytest.fixture(params=["opencv", "av"])
def decoder(request):
    if request.param == "av":
        pytest.importorskip("av", reason="PyAV (the extra rtsp) is not installed")
    return request.param


class Watching(Recorder):
    """A loop over one camera in a thread; keeps what is told, and the sizes and ages of the last frames."""

    def __init__(self, port, decoder):
        super().__init__()
        source = NetworkCamera(f"rtsp://127.0.0.1:{port}/camera", decoder=decoder, timeout_s=2.0)
        self.stream = Stream([Camera("left", FakeDetector(), source, capture=SOON)], listeners=[self])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.ended_with = None
        self.frames, self.right = 0, 0
        """Frames so far; how many of them in a row were right."""
        self.size = None

    def _run(self):
        try:
            for _ in self.stream:
                pass
        except Exception as error:  # noqa: BLE001  (whatever ended it is told)
            self.ended_with = error

    def on_result(self, result):
        self.frames += 1
        if result.frame.image is not None:
            self.size = result.frame.image.shape[:2]
            self.right = self.right + 1 if age_ms(result.frame.image) < _YOUNG_MS else 0

    @property
    def stats(self):
        return self.stream.stats()["left"]

    def sees_again(self, timeout_s=20):
        """Right pictures, several in a row, from now on."""
        self.right = 0
        wait_until(lambda: self.right >= _IN_A_ROW, timeout_s)
        assert self.thread.is_alive()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stream.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()
        assert self.ended_with is None


def test_a_camera_that_comes_back_with_another_size(decoder):
    port = free_port()
    with Watching(port, decoder) as loop:
        with camera(port, *SMALL):
            loop.sees_again()
            assert loop.size == SMALL[1::-1]
        wait_until(lambda: ("lost", "opened") in loop.heard("trouble"), 20)
        lost = loop.stats.reconnects
        assert lost >= 1
        with camera(port, *OTHER):
            loop.sees_again()
            assert loop.size == OTHER[1::-1]
        wait_until(lambda: loop.stats.troubles == {})


def test_lost_packets_cost_pictures_and_not_the_connection(decoder):
    port = free_port()
    with camera(port, *SMALL), Proxy(port) as proxy, Watching(proxy.port, decoder) as loop:
        loop.sees_again()
        began, before = time.monotonic(), loop.frames
        proxy.network.lose = 0.1
        wait_until(lambda: proxy.network.done["lost"] >= 20, 20)
        seen = (loop.frames - before) / (time.monotonic() - began)
        proxy.network.lose = 0.0
        loop.sees_again()
        assert seen > 5, f"{seen:.1f} frames a second while one packet in ten was lost, of 25"
        assert loop.stats.reconnects == 0, "a lost packet is no lost camera"


def test_damaged_packets_do_not_end_it(decoder):
    port = free_port()
    with camera(port, *SMALL), Proxy(port) as proxy, Watching(proxy.port, decoder) as loop:
        loop.sees_again()
        proxy.network.damage = 0.2
        wait_until(lambda: proxy.network.done["damaged"] >= 30, 20)
        proxy.network.damage = 0.0
        loop.sees_again()


def test_garbage_between_two_packets_and_in_place_of_a_server(decoder):
    port = free_port()
    with Watching(port, decoder) as loop:
        with babbling(port) as answered:
            wait_until(lambda: len(answered) >= 3, 20)
            wait_until(lambda: loop.stats.reconnects >= 3, 20)
        assert ("lost", "opened") in loop.heard("trouble")
        assert loop.frames == 0
        with camera(port, *SMALL):
            loop.sees_again()
    with camera(free := free_port(), *SMALL), Proxy(free) as proxy, Watching(proxy.port, decoder) as loop:
        loop.sees_again()
        for garbage in (b"\x00" * 5000, os.urandom(5000), b"$\x00\xff\xff" + b"x" * 100):
            proxy.network.inject = garbage
            wait_until(lambda: not proxy.network.inject, 20)
            loop.sees_again()
        assert proxy.network.done["injected"] == 3


@on_linux
def test_connections_that_are_cut_again_and_again_leave_nothing_behind(decoder):
    port = free_port()
    with camera(port, *SMALL), Proxy(port) as proxy, Watching(proxy.port, decoder) as loop:
        held = []
        for number in range(1, 5):
            loop.sees_again()
            gc.collect()
            held.append((resident_mb(), len(list(Path("/proc/self/fd").iterdir())), threading.active_count()))
            proxy.cut()
            wait_until(lambda number=number: loop.stats.reconnects >= number, 20)
        loop.sees_again()
    (_, _, _), (early_mb, early_files, early_threads), *_, (mb, files, threads) = held
    assert mb < early_mb + 15, held
    assert files <= early_files + 2, held
    assert threads <= early_threads + 2, held


@pytest.mark.slow
def test_a_server_that_is_away_for_ten_seconds(decoder):
    port = free_port()
    with Watching(port, decoder) as loop:
        with camera(port, *SMALL):
            loop.sees_again()
        gone = time.monotonic()
        wait_until(lambda: "lost" in loop.stats.troubles, 10)
        time.sleep(max(0.0, gone + 10 - time.monotonic()))
        assert loop.stats.troubles.keys() == {"lost"}
        assert loop.stats.reconnects >= 10, "tried again all the time, by the waits that were set"
        before = loop.frames
        with camera(port, *SMALL):
            loop.sees_again()
        assert loop.frames > before
        wait_until(lambda: loop.heard("trouble")[-1] == ("lost", "closed"))


@on_linux
@pytest.mark.slow
def test_all_of_it_over_and_over_in_one_run(decoder):
    port = free_port()
    with camera(port, *SMALL), Proxy(port) as proxy, Watching(proxy.port, decoder) as loop:
        loop.sees_again()
        held = []
        for number in range(8):
            proxy.network.lose, proxy.network.damage = 0.05 * (number % 3), 0.1 * (number % 2)
            proxy.network.inject = os.urandom(2000) if number % 4 == 3 else b""
            time.sleep(2)
            if number % 3 == 2:
                proxy.cut()
            proxy.network.lose = proxy.network.damage = 0.0
            loop.sees_again()
            gc.collect()
            held.append(resident_mb())
        assert loop.stats.reconnects >= 2
    assert held[-1] < held[2] + 20, held


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
