"""What the camera of a soak sees: a slow pan over a real picture, and a scratch for four seconds of ten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from edgead_runtime.images import Frame

from benchmarks.common import real_frames

CYCLE_S, SCRATCH_FROM_S = 10, 6
"""A scratch is seen from here to the end of each cycle."""
_CYCLES = 2
_MARGIN = 16
_GOOD = 8


def scratches_by(frames: int, fps: int) -> int:
    """How many scratches are over once so many frames were captured."""
    return frames // (CYCLE_S * fps)


def pan(picture: Frame, side: int, step: int) -> Frame:
    """A window that wanders over a picture and back."""
    travel = picture.shape[0] - side
    at = travel - abs(travel - step % (2 * travel))
    return picture[at : at + side, at : at + side]


def apart(module: str, *arguments: object) -> str:
    """Run a module of the benchmarks in a process of its own.

    Weights and pictures come by the exporter, and with it comes torch: 400 MB in the process whose memory is
    watched.

    Returns:
        The last line that it printed.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, check=True
    )
    return (done.stdout.strip().splitlines() or [""])[-1]


def make_video(path: Path, side: int, fps: int) -> None:
    """Write the video, which is played over and over; by :func:`apart`.

    Args:
        path: Of an AVI file.
        side: Of the picture, pixels.
        fps: Frames a second.
    """
    (picture,) = real_frames(side + _MARGIN, 1)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (side, side))
    random = np.random.default_rng(0)
    noises = [random.normal(0, 2, (side, side, 3)).astype(np.float32) for _ in range(7)]
    for number in range(_CYCLES * CYCLE_S * fps):
        noise = noises[number % len(noises)]
        frame = np.clip(pan(picture, side, number // 4) + noise, 0, 255).astype(np.uint8)
        if number % (CYCLE_S * fps) >= SCRATCH_FROM_S * fps:
            cv2.line(frame, (side // 4, side // 3), (side // 2, side // 2), (255, 0, 255), side // 40)
        writer.write(frame)
    writer.release()


def good_frames(path: Path, fps: int) -> tuple[list[Frame], list[Frame], Frame]:
    """From the video as it is played: frames to enrol, others that are good, and one with a scratch."""
    capture = cv2.VideoCapture(str(path))
    frames: list[Frame] = []
    try:
        for _ in range(CYCLE_S * fps):
            there, frame = capture.read()
            if not there:
                raise RuntimeError(f"{path} ends after {len(frames)} frames")
            frames.append(np.asarray(frame, dtype=np.uint8))
    finally:
        capture.release()
    clean = frames[: SCRATCH_FROM_S * fps]
    step = max(2, len(clean) // _GOOD)
    return clean[::step][:_GOOD], clean[1::step][:_GOOD], frames[-1]


if __name__ == "__main__":
    make_video(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
