"""A detector that reads its score off the frame, and sources that do what cameras do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from edgead_runtime.anomaly_map import Region
from edgead_runtime.errors import SourceLostError
from edgead_runtime.result import Provenance, Result
from edgead_runtime.streaming.sources import EndOfSourceError, Grab

SIDE = 32
PROVENANCE = Provenance("f" * 16, "fake", "none", official_weights=False, recipe="fake", engine="fake")


def frame_scoring(score: float, number: int = 0) -> np.ndarray:
    """A frame on which :class:`FakeDetector` gives this score (hundredths); ``number`` makes it differ."""
    frame = np.full((SIDE, SIDE, 3), 50, np.uint8)
    frame[0, 0] = round(score * 100)
    frame[1, :, 0] = np.frombuffer(np.int64(number).tobytes() * 4, np.uint8)
    return frame


def result_of(score: float, threshold: float = 0.5) -> Result:
    anomaly_map = np.zeros((SIDE, SIDE), np.float32)
    anomaly_map[4:8, 4:8] = score
    region = Region(x=4, y=4, width=4, height=4, area_px=16, peak=score)
    return Result(
        score=score,
        threshold=threshold,
        patch_distances=np.full((2, 2), score, np.float32),
        mask=None,
        provenance=PROVENANCE,
        pixel_threshold=0.5,
        _make_map=anomaly_map.copy,
        _find_regions=lambda made, anomalous: (region,) if anomalous else (),
        _timings_ms={},
    )


class FakeDetector:
    """Scores the first pixel; may be slow, and does what is scripted for a call number."""

    calibration = SimpleNamespace(pixel_threshold=0.5)

    def __init__(self, takes_s: float = 0.0, script=None):
        self.takes_s, self.script = takes_s, script or (lambda call: None)
        self.calls = 0

    def __call__(self, frame):
        self.calls += 1
        if self.takes_s:
            time.sleep(self.takes_s)
        self.script(self.calls)
        return result_of(float(frame[0, 0, 0]) / 100)


@dataclass
class FakeCamera:
    """A live source that follows a script: each ``open`` takes the next list of steps.

    A step is a frame, an exception to raise, or a function to call (a hang, a pause). After its steps a
    connection is lost; after the last connection the camera ends.
    """

    connections: list
    period_s: float = 0.002
    label: str = "fake camera"
    live: bool = True
    paces_itself: bool = False
    opened: int = 0
    closed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self):
        with self.lock:
            self.opened += 1
            if self.opened > len(self.connections):
                raise EndOfSourceError
            steps = self.connections[self.opened - 1]
        if isinstance(steps, Exception):
            raise steps
        return _FakeSession(self, iter(steps))


class _FakeSession:
    def __init__(self, camera, steps):
        self.camera, self.steps = camera, steps

    def read(self):
        time.sleep(self.camera.period_s)
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            if callable(step):
                step()
                continue
            return Grab(step)
        raise SourceLostError("the fake camera went away", "Wait.")

    def close(self):
        self.camera.closed += 1


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self):
        self.messages, self.results = [], []

    def on_message(self, message):
        self.messages.append(message)

    def on_result(self, result):
        self.results.append(result)

    def heard(self, kind):
        return [(m.body.get("trouble", m.body.get("zone")), m.state) for m in self.messages if m.kind == kind]


class HandClock:
    """Goes as a test says; the wall clock can be set apart from it."""

    def __init__(self):
        from datetime import datetime, timezone

        self.seconds = 1000.0
        self.wall = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def monotonic(self):
        return self.seconds

    def now(self):
        return self.wall


def wait_until(condition, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.005)


class RefusingBroker:
    """Lets everybody in over MQTT 3.1.1, and lets nobody listen on a topic: every SUBACK says 0x80.

    mosquitto says so only with a plug-in of its own; this is what it, and others, then send.
    """

    def __init__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.asked = []
        """Topics that somebody wanted to listen on."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError, ValueError):
            stream = connection.makefile("rb")
            while True:
                kind, length = stream.read(2)  # what is sent here is shorter than 128 bytes
                body = stream.read(length)
                if kind == 0x10:
                    connection.sendall(b"\x20\x02\x00\x00")
                elif kind == 0x82:
                    self.asked.append(body[4:-1].decode())
                    connection.sendall(b"\x90\x03" + body[:2] + b"\x80")
                elif kind == 0xC0:
                    connection.sendall(b"\xd0\x00")
                elif kind == 0xE0:
                    return

    def close(self):
        self._listening.close()
