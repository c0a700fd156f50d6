"""Whether drift is noticed, whether good pictures cry wolf, and what a frame costs.

    python -m benchmarks.drift --root DATA [--objects hazelnut] [--encoder BUNDLE]
    python -m benchmarks.drift --cost                        # the time of a frame alone

For each object (a folder in MVTec's layout) a detector is enrolled from the first good pictures. Its other
good pictures come as a stream of frames in random order, all with sensor noise, first as they are, then
darker (x 0.6), out of focus (Gaussian blur of 2 pixels at 448) and moved (5 % to the right). The limits are
the defaults, without the time that an alert has to last (``for_s``), so that every one counts. What is told
is the alerts, each with the number of frames after the change.

Where the good pictures of an object do not lie over each other a moved camera is not watched for. So there is
an object more, ``fixture``: a real picture as what is always there, with crops of the others in its middle.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
from edgead_runtime import Detector, Encoder
from edgead_runtime.images import Frame, find_pictures, read_picture
from edgead_runtime.result import Result
from edgead_runtime.streaming.drift import Baseline, DriftSettings
from edgead_runtime.streaming.drift.looking import look_at
from edgead_runtime.streaming.drift.watch import DriftWatch
from edgead_runtime.streaming.frames import CameraFrame

from benchmarks.common import encoder_bundle, real_frames, save, table

Change = Callable[[Frame], Frame]
_NOISE_LEVELS = 1.5
_SCALE_SIDE = 448


def darker(frame: Frame) -> Frame:
    """At 0.6 of the light."""
    return np.asarray(frame * 0.6, dtype=np.uint8)


def out_of_focus(frame: Frame) -> Frame:
    """Blurred by 2 pixels of a frame of 448."""
    sigma = 2 * max(frame.shape[:2]) / _SCALE_SIDE
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma), dtype=np.uint8)


def moved(frame: Frame) -> Frame:
    """5 % to the right; what comes in is a reflection."""
    height, width = frame.shape[:2]
    shift = np.array([[1, 0, 0.05 * width], [0, 1, 0]], dtype=np.float32)
    return np.asarray(
        cv2.warpAffine(frame, shift, (width, height), borderMode=cv2.BORDER_REFLECT), dtype=np.uint8
    )


def as_is(frame: Frame) -> Frame:
    """Nothing changed."""
    return frame


CHANGES: dict[str, Change] = {
    "good": as_is,
    "darker x 0.6": darker,
    "blur of 2": out_of_focus,
    "moved 5 %": moved,
}


def noisy(frame: Frame, random: np.random.Generator) -> Frame:
    """The same scene in another frame of a camera."""
    noise = random.normal(0, _NOISE_LEVELS, frame.shape).astype(np.float32)
    return np.asarray(np.clip(frame + noise, 0, 255), dtype=np.uint8)


def fixture(pictures: Sequence[Frame], side: int = _SCALE_SIDE) -> list[Frame]:
    """The first picture with crops of all others in its middle, turned one by one."""
    base = np.asarray(cv2.resize(pictures[0], (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    quarter, half = side // 4, side // 2
    scenes = []
    for number, other in enumerate(pictures[1:]):
        part = cv2.resize(other, (half, half), interpolation=cv2.INTER_AREA)
        scene = base.copy()
        scene[quarter : quarter + half, quarter : quarter + half] = np.rot90(part, number % 4)
        scenes.append(scene)
    return scenes


@dataclass(frozen=True)
class Seen:
    """One picture of a stream and what the detector said of it."""

    frame: Frame
    result: Result


def alerts(detector: Detector, settings: DriftSettings, parts: Iterator[list[Seen]]) -> list[dict[str, int]]:
    """The alerts that open in each part of a stream, with the frames it took."""
    watch = DriftWatch(Baseline.of(detector), settings, lambda: detector.threshold)
    found, number = [], 0
    for part in parts:
        opened: dict[str, int] = {}
        for place, seen in enumerate(part, start=1):
            frame = CameraFrame(seen.frame, number, number / 10, datetime.now(timezone.utc))
            number += 1
            for drifted in watch.observe(frame, seen.result):
                if drifted.turn == "opened":
                    opened[drifted.measure] = place
                    print(f"    {drifted.text}")
        found.append(opened)
    return found


def stream_of(
    detector: Detector, pictures: Sequence[Frame], change: Change, frames: int, random: np.random.Generator
) -> list[Seen]:
    """Good pictures in random order, changed, with noise of their own."""
    # Each picture is inspected once, with noise: a thousand frames of twenty pictures need not take an hour.
    inspected = [detector(noisy(change(picture), random)) for picture in pictures]
    order = random.integers(0, len(pictures), frames)
    return [Seen(noisy(change(pictures[index]), random), inspected[index]) for index in order]


def objects_of(options: argparse.Namespace) -> Iterator[tuple[str, list[Frame]]]:
    """Good pictures by object; the first ones are to enrol."""
    for folder in sorted(options.root.iterdir()):
        if (folder / "train" / "good").is_dir() and (not options.objects or folder.name in options.objects):
            paths = find_pictures([folder / "train" / "good", folder / "test" / "good"])
            frames = [read_picture(path).frame for path in paths[: options.shots + options.limit]]
            yield folder.name, frames
            if not options.objects or "fixture" in options.objects:
                yield f"{folder.name} in a fixture", fixture(frames)


def measure(options: argparse.Namespace) -> list[list[object]]:
    """A row for each object."""
    rows: list[list[object]] = []
    settings = DriftSettings(for_s=0)
    with Encoder.load(options.encoder or encoder_bundle(_SCALE_SIDE)) as encoder:
        for name, pictures in objects_of(options):
            print(name)
            # With the same noise: a camera that enrols has it, too.
            random = np.random.default_rng(2)
            enrolled = [noisy(picture, random) for picture in pictures[: options.shots]]
            detector = Detector.enroll(encoder, enrolled, recipe=options.recipe)
            detector.any_size = True
            rest = pictures[options.shots :]
            good = stream_of(detector, rest, as_is, options.frames, np.random.default_rng(0))
            row: list[object] = [name, len(rest)]
            for label, change in CHANGES.items():
                after = stream_of(detector, rest, change, options.frames, np.random.default_rng(1))
                of_good, of_change = alerts(detector, settings, iter([good, after]))
                told = {**of_good, **of_change} if change is as_is else of_change
                row.append(", ".join(f"{measure} ({count})" for measure, count in told.items()) or "none")
                print(f"  {label}: {row[-1]}")
            unwatched = Baseline.of(detector).unwatched
            row.append("no" if "position" in unwatched else "yes")
            rows.append(row)
    return rows


def cost(turns: int = 200) -> list[list[object]]:
    """Median milliseconds of looking at a frame, sizes in turns."""
    frames = {side: real_frames(side, 1)[0] for side in (448, 1024, 2048)}
    times: dict[int, list[float]] = {side: [] for side in frames}
    for _ in range(turns):
        for side, frame in frames.items():
            began = time.perf_counter()
            look_at(frame)
            times[side].append((time.perf_counter() - began) * 1e3)
    return [
        [f"{side} x {side}", *(f"{np.percentile(found, share):.2f}" for share in (50, 99))]
        for side, found in times.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="folder in MVTec's layout")
    parser.add_argument("--objects", nargs="*")
    parser.add_argument("--encoder", type=Path, help="default: dinov2_s at 448")
    parser.add_argument("--recipe", default="anomalydino-informed")
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--limit", type=int, default=24, help="good pictures of an object beside these")
    parser.add_argument("--frames", type=int, default=300, help="of each part of a stream")
    parser.add_argument("--cost", action="store_true", help="only what a frame costs")
    options = parser.parse_args()
    costs = cost()
    text = table(["frame", "p50 ms", "p99 ms"], costs)
    rows: list[list[object]] = []
    if not options.cost:
        if options.root is None:
            parser.error("give --root, or --cost")
        rows = measure(options)
        header = ["object", "good pictures", *CHANGES, "position watched"]
        text = f"alerts, and after how many frames\n\n{table(header, rows)}\n\n{text}"
    save("drift", text, {"alerts": rows, "cost": costs})


if __name__ == "__main__":
    main()
