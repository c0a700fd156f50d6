"""PyAV against OpenCV for network cameras: how old is a frame when we have it, and what does it cost.

    python -m benchmarks.rtsp [--seconds 8] [--turns 3]

Needs GStreamer's RTSP server for the system's Python (Debian: apt install gir1.2-gst-rtsp-server-1.0
gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly python3-gi).
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from edgead_runtime.errors import SourceLostError
from edgead_runtime.streaming.sources import NetworkCamera

SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
BITS = 32


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def camera(port: int, *size: int) -> Iterator[subprocess.Popen[str]]:
    """The server as a process of its own.

    Raises:
        RuntimeError: GStreamer's server is not installed.
    """
    command = [SYSTEM_PYTHON, str(SERVER), str(port), *map(str, size)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            process.wait(5)
            why = process.stderr.read().strip().splitlines()[-1:] if process.stderr else []
            raise RuntimeError(f"GStreamer's RTSP server does not start: {' '.join(why)}")
        yield process
    finally:
        process.kill()
        process.wait()


def age_ms(image: np.ndarray) -> float:
    """How long ago a frame was made, by the bars in it."""
    now = int(time.monotonic() * 1000)
    bar = image.shape[1] // BITS
    middle = image[image.shape[0] // 2, bar // 2 : bar * BITS : bar, 0]
    stamp = int("".join("1" if value > 128 else "0" for value in middle), 2)
    return float((now - stamp) & (2**BITS - 1))


def measure(decoder: str, port: int, seconds: float) -> dict[str, Any]:
    """One turn of one decoder."""
    began = time.monotonic()
    session = NetworkCamera(f"rtsp://127.0.0.1:{port}/camera", decoder=decoder).open()  # type: ignore[arg-type]
    session.read()
    first_s = time.monotonic() - began
    for _ in range(25):
        session.read()
    ages, cpu, end = [], time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        grab = session.read()
        if grab is not None:
            ages.append(age_ms(grab.image))
    cpu_ms = (time.process_time() - cpu) * 1e3 / len(ages)
    session.close()
    return {"first_frame_s": first_s, "ages_ms": ages, "cpu_ms_per_frame": cpu_ms}


def notice_s(decoder: str) -> float:
    """How long it takes to notice that the camera is gone."""
    port = free_port()
    with camera(port) as process:
        session = NetworkCamera(f"rtsp://127.0.0.1:{port}/camera", decoder=decoder).open()  # type: ignore[arg-type]
        for _ in range(10):
            session.read()
        process.kill()
        gone = time.monotonic()
        try:
            while True:
                session.read()
        except SourceLostError:
            return time.monotonic() - gone
        finally:
            session.close()


def main() -> None:
    """Measure in turns and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=(1280, 720, 25), help="width height frames/s")
    given = parser.parse_args()
    turns: dict[str, list[dict[str, Any]]] = {"opencv": [], "av": []}
    port = free_port()
    with camera(port, *given.size):
        for _ in range(given.turns):
            for decoder, done in turns.items():
                done.append(measure(decoder, port, given.seconds))
    summary = {}
    for decoder, done in turns.items():
        ages = np.concatenate([turn["ages_ms"] for turn in done])
        summary[decoder] = {
            "age_ms": {"p50": float(np.median(ages)), "p99": float(np.percentile(ages, 99))},
            "cpu_ms_per_frame": float(np.median([turn["cpu_ms_per_frame"] for turn in done])),
            "first_frame_s": float(np.median([turn["first_frame_s"] for turn in done])),
            "frames": len(ages),
            "notices_the_end_after_s": notice_s(decoder),
        }
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
