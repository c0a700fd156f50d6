"""The loop for minutes or hours at full rate: memory, drops, latency, and whether every event arrives.

    python -m benchmarks.soak --minutes 60

A video is made of real photographs (a slow pan, a scratch drawn on for four seconds of ten) and played as
a camera. Sinks: JSON lines, pictures, clips, numbers, and one that is down for the middle third of the time.
At the end every event has to be in the first and in the last. Writes soak.json and soak.png to
benchmarks/out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from edgead_runtime import Detector, stream
from edgead_runtime.files import write_atomic
from edgead_runtime.images import Frame
from edgead_runtime.streaming import Delivery, Rules, StreamResult
from edgead_runtime.streaming.sinks import ClipRecorder, JsonLines, Metrics, PictureFolder, Sink
from edgead_runtime.streaming.sources import VideoFile
from edgead_runtime.streaming.stored import StoredMessage

from benchmarks.common import OUT, encoder_bundle, machine, real_frames
from edgead.report.canvas import PngCanvas
from edgead.report.plot_area import SERIES, PlotArea, round_ticks
from edgead.report.sheet_style import INK

SAMPLE_S = 2.0
_WIDTH, _PLOT_HEIGHT = 900, 330


class AwayForAThird(Sink):
    """Takes messages, but not in the middle third of the run."""

    name = "away for a third"

    def __init__(self, began: float, seconds: float) -> None:
        self._from, self._to = began + seconds / 3, began + seconds * 2 / 3
        self.got: list[tuple[str, str]] = []

    def send(self, message: StoredMessage) -> None:
        """Take it or not."""
        if self._from < time.monotonic() < self._to:
            raise ConnectionError("away")
        if message.kind == "event" and message.state != "updated":
            self.got.append((message.key, message.state))


def pan(picture: Frame, side: int, step: int) -> Frame:
    """A window that wanders over a picture and back."""
    travel = picture.shape[0] - side
    at = travel - abs(travel - step % (2 * travel))
    return picture[at : at + side, at : at + side]


def make_video(path: Path, side: int, fps: int, seconds: int = 20) -> list[Frame]:
    """Write the video; returns good frames to enrol."""
    (picture,) = real_frames(side + 16, 1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (side, side))
    random = np.random.default_rng(0)
    noises = [random.normal(0, 2, (side, side, 3)).astype(np.float32) for _ in range(7)]
    for number in range(seconds * fps):
        noise = noises[number % len(noises)]
        frame = np.clip(pan(picture, side, number // 4) + noise, 0, 255).astype(np.uint8)
        if number % (10 * fps) >= 6 * fps:
            cv2.line(frame, (side // 4, side // 3), (side // 2, side // 2), (255, 0, 255), side // 40)
        writer.write(frame)
    writer.release()
    return [np.ascontiguousarray(pan(picture, side, step)) for step in range(0, 16, 2)]


def resident_mb() -> float:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Sampler:
    """A listener that keeps a line every two seconds."""

    def __init__(self, began: float) -> None:
        self.began, self.due = began, began
        self.lines: list[dict[str, float]] = []
        self.dropped = 0
        self._latencies: list[float] = []

    def on_result(self, result: StreamResult) -> None:
        """Take in a frame."""
        self._latencies.append(result.latency_ms)
        self.dropped += result.dropped
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + SAMPLE_S
        p50, p99 = np.percentile(self._latencies, [50, 99])
        self.lines.append(
            {
                "minutes": (now - self.began) / 60,
                "resident_mb": resident_mb(),
                "p50_ms": float(p50),
                "p99_ms": float(p99),
                "frames": len(self._latencies),
                "dropped": self.dropped,
            }
        )
        self._latencies.clear()

    def on_message(self, message: object) -> None:
        """Nothing."""


def soak(encoder: Path, minutes: float, side: int, fps: int, work: Path) -> dict[str, Any]:
    """Run it."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    video = work / "camera.avi"
    good = make_video(video, side, fps)
    seconds = minutes * 60
    with Detector.enroll(encoder, good, recipe="anomalydino-informed") as detector:
        detector(good[0])
        detector.set_threshold(
            2 * max(detector(frame).score for frame in (good[0] + np.uint8(1), good[3])) + 0.05
        )
        began = time.monotonic()
        sampler, away = Sampler(began), AwayForAThird(began, seconds)
        lines = JsonLines(work / "events.jsonl")
        sinks: list[Sink] = [lines, PictureFolder(work / "events", max_mb=20), away]
        rules = Rules(hits=3, window=5, close_ratio=0.9, close_after=5)
        with (
            Delivery(sinks, outbox=work / "outbox.db", backoff_s=(0.5, 5.0)) as delivery,
            ClipRecorder(work / "clips", max_mb=50) as clips,
            Metrics(port=0) as metrics,
        ):
            running = stream(
                detector,
                VideoFile(video, as_camera=True, repeat=True),
                budget_ms=1000 / fps,
                rules=rules,
                listeners=[delivery, clips, metrics, sampler],
            )
            metrics.watch(running, delivery)
            events = []
            for result in running:
                events += [(event.id, event.change.value) for event in result.events]
                if time.monotonic() - began > seconds:
                    break
            stats = running.stats()["camera"]
        written = [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]
    told = [(line["id"], line["state"]) for line in written if line["kind"] == "event"]
    told = [pair for pair in told if pair[1] != "updated"]
    events = [pair for pair in events if pair[1] != "updated"]
    settled = sampler.lines[len(sampler.lines) // 4 :]
    memory = np.array([line["resident_mb"] for line in settled])
    slope = np.polyfit([line["minutes"] for line in settled], memory, 1)[0] if len(settled) > 2 else 0.0
    # Rows of a few seconds each; the worst of them is what a p99 over all would hide.
    return {
        "machine": machine(),
        "minutes": minutes,
        "side_px": side,
        "fps": fps,
        "frames": {
            name: getattr(stats, name)
            for name in ("captured", "inspected", "dropped", "not_inspected", "late")
        },
        "latency_ms_last_1024": stats.latency_ms,
        "memory_mb": {
            "first": sampler.lines[0]["resident_mb"],
            "median": float(np.median(memory)),
            "largest": float(memory.max()),
            "growth_per_hour_after_the_first_quarter": float(slope * 60),
        },
        "events": {
            "decided": len(events),
            "written": len(told),
            # What was decided last is closed after the loop was left, so that `told` has one line more.
            "all_written_in_order": told[: len(events)] == events,
            "all_reached_the_sink_that_was_away": away.got == told,
        },
        "clips": {
            "written": clips.written,
            "frames_left_out": clips.left_out,
            "removed": clips.quota.removed,
        },
        "samples": sampler.lines,
    }


def draw(data: dict[str, Any], path: Path) -> None:
    """Memory above, latency below, over time; a picture."""
    samples = data["samples"]
    minutes = [line["minutes"] for line in samples]
    canvas = PngCanvas(_WIDTH, 2 * _PLOT_HEIGHT + 60)
    canvas.text(20, 32, f"{data['minutes']:g} minutes of a camera at {data['fps']} frames/s", 17, INK)
    plots = (("MB resident", ("resident_mb",)), ("ms from capture to verdict", ("p50_ms", "p99_ms")))
    for place, (title, names) in enumerate(plots):
        above = 84 + place * _PLOT_HEIGHT
        top = 1.1 * max(line[name] for line in samples for name in names)
        area = PlotArea(64, above, _WIDTH - 110, above + _PLOT_HEIGHT - 70, minutes[0], minutes[-1], top)
        area.draw_axes(canvas, title, "minutes", round_ticks(0, minutes[-1])[1:], round_ticks(0, top))
        for number, name in enumerate(names):
            color = SERIES[number]
            canvas.line([(area.x(line["minutes"]), area.y(line[name])) for line in samples], color, 1.8)
            label = name.removesuffix("_ms").removesuffix("_mb")
            canvas.text(area.right + 12, area.y(samples[-1][name]) + 4, label, 13, color)
    write_atomic(path, canvas.data())


def main() -> None:
    """Run, print a summary, write the rest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--side", type=int, default=640, help="of the camera's picture, pixels")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument(
        "--encoder", type=Path, help="a bundle; by default dinov2_s at 224, exported on the first call"
    )
    given = parser.parse_args()
    encoder = given.encoder or encoder_bundle(224, fuse=True)
    data = soak(encoder, given.minutes, given.side, given.fps, OUT / "soak")
    (OUT / "soak.json").write_text(json.dumps(data, indent=2) + "\n")
    draw(data, OUT / "soak.png")
    print(json.dumps({name: value for name, value in data.items() if name != "samples"}, indent=2))


if __name__ == "__main__":
    main()
