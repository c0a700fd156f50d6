"""A loop with a live view around it, a teacher, and a browser's side of the WebSocket."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
from edgead_runtime.streaming import Camera, CaptureSettings, Stream
from edgead_runtime.streaming.sources import Frames
from edgead_runtime.streaming.teaching import Lesson
from edgead_runtime.streaming.view import LiveView


class Stand:
    """A camera that goes on giving the frame that lies there, until it is taken away."""

    def __init__(self, frame, period_s=0.02):
        self.frame, self.period_s, self.over = frame, period_s, False
        self.given = 0

    def __iter__(self):
        while not self.over:
            time.sleep(self.period_s)
            self.given += 1
            yield self.frame.copy()

    def camera(self, name, detector, **options):
        source = Frames(self, live=True, label="stand")
        return Camera(name, detector, source, capture=CaptureSettings(frozen_s=0), **options)


class DirectTeacher:
    """Teaches detectors at once and remembers nothing on disk."""

    def __init__(self, detectors):
        self.detectors, self.taught, self.pictures = detectors, [], []

    def add_good(self, camera, picture, who):
        self.detectors[camera].add_good(picture)
        return self._note(camera, "good", who, picture)

    def keep_defect(self, camera, picture, who):
        return self._note(camera, "defect", who, picture)

    def undo(self, camera, lesson_id, who):
        (lesson,) = [each for each in self.taught if each.id == lesson_id]
        if lesson.kind == "good":
            self.detectors[camera].undo()
        self.taught = [replace(each, undone=True) if each is lesson else each for each in self.taught]
        return self._note(camera, "undo", who, None, lesson_id)

    def lessons(self, camera, limit=50):
        return [lesson for lesson in reversed(self.taught) if lesson.camera == camera][:limit]

    def _note(self, camera, kind, who, picture, undoes=None):
        name = "" if picture is None else picture.name
        lesson = Lesson(f"l{len(self.taught)}", camera, kind, time.time(), who, name, undoes)
        self.taught.append(lesson)
        self.pictures.append(picture)
        return lesson


@contextlib.contextmanager
def running(cameras, **options):
    """A loop over cameras in a thread, with its view; gives the view and the stream."""
    with LiveView(**{"port": 0, **options}) as view:
        stream = Stream(cameras, listeners=[view])
        view.watch(stream)
        thread = threading.Thread(target=lambda: list(stream), daemon=True)
        thread.start()
        try:
            yield view, stream
        finally:
            stream.stop()
            thread.join(10)


class Looking:
    """What the page does with its WebSocket, by hand."""

    def __init__(self, view, **options):
        from websockets.sync.client import connect

        self._opened = contextlib.ExitStack()
        address = f"ws://127.0.0.1:{view.port}/live"
        opening = connect(address, open_timeout=5, close_timeout=0.5, **options)
        self.socket = self._opened.enter_context(opening)
        self.states, self.others = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._opened.close()

    def say(self, do, **what):
        self.socket.send(json.dumps({"do": do, **what}))

    def next(self, timeout=5):
        """The next message: a picture's parts, or an object."""
        got = self.socket.recv(timeout)
        if isinstance(got, bytes):
            return parts(got)
        told = json.loads(got)
        (self.states if told["type"] == "state" else self.others).append(told)
        return told

    def until(self, wanted, timeout=10):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            got = self.next(max(0.01, end - time.monotonic()))
            if wanted(got):
                return got
        raise AssertionError("it did not come in time")

    def picture(self, timeout=10):
        """Ask for a picture and wait for it."""
        self.say("ready")
        return self.until(lambda got: isinstance(got, tuple), timeout)

    def state(self, wanted=lambda state: True, timeout=10):
        return self.until(
            lambda got: isinstance(got, dict) and got["type"] == "state" and wanted(got), timeout
        )


def parts(message):
    """What a picture's message is made of: the words, the picture and the map."""
    length = int.from_bytes(message[:4], "big")
    about = json.loads(message[4 : 4 + length])
    rest = message[4 + length :]
    jpeg, heat = rest[: about["jpeg"]], rest[about["jpeg"] :]
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    if about["heat"]:
        heat = np.frombuffer(heat, np.uint8).reshape(about["heat"][1], about["heat"][0])
    return about, image, heat
