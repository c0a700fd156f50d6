"""How well pictures are laid over each other, with SIFT and with ORB.

    python -m benchmarks.alignment --pictures cookie/train/good hazelnut/train/good

Three questions, each a table: are known motions found again; are different pictures of one folder laid over
each other, and do they lie closer then; is anything found between pictures of different folders, which would
be wrong. OpenCV runs on one thread, so that the times can be compared.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from edgead_runtime.alignment import (
    MAX_LANDMARKS,
    MIN_COVERAGE,
    RATIO,
    Alignment,
    Landmarks,
    align,
    coverage,
    find_landmarks,
    landmarks_from,
    transform,
    warp,
    working_copy,
)
from edgead_runtime.images import Frame, find_pictures, read_picture
from numpy.typing import NDArray

from benchmarks.common import save, table

SHIFT = 0.1
NOISE = 3.0
GAIN = (0.9, 1.1)
OFFSET = (-10.0, 10.0)
WRONG_FROM = 0.01
"""Share of the longest side by which a corner may be off."""


@dataclass(frozen=True)
class Detector:
    """A way of finding landmarks."""

    find: Callable[[Frame], Landmarks]
    ratio: float


@dataclass(frozen=True)
class Shown:
    """A frame, its landmarks, and how long they took."""

    frame: Frame
    landmarks: Landmarks
    find_ms: float


def orb_landmarks(frame: Frame) -> Landmarks:
    """ORB's landmarks, each bit of a descriptor an entry: the square of their distance is Hamming's."""
    grey = working_copy(frame)
    orb = cv2.ORB.create(nfeatures=MAX_LANDMARKS, fastThreshold=5)
    keypoints, packed = orb.detectAndCompute(grey, None)
    found = np.zeros((0, 32), np.uint8) if packed is None else np.asarray(packed, dtype=np.uint8)
    return landmarks_from(keypoints, np.unpackbits(found, axis=1).astype(np.float32), grey, frame)


# The same ratio of Hamming distances is its root between Euclidean ones.
DETECTORS = {"sift": Detector(find_landmarks, RATIO), "orb": Detector(orb_landmarks, RATIO**0.5)}


def show(frame: Frame, detector: Detector) -> Shown:
    """Find a frame's landmarks."""
    start = time.perf_counter()
    landmarks = detector.find(frame)
    return Shown(frame, landmarks, 1000 * (time.perf_counter() - start))


def moved(frame: Frame, random: np.random.Generator) -> tuple[Frame, NDArray[np.float64]]:
    """A frame turned, shifted, noisy and of another brightness, and the matrix ``[2, 3]`` back.

    Motions that leave too little of the frame are drawn again: those are refused by rule.
    """
    height, width = frame.shape[:2]
    covered = 0.0
    while covered < MIN_COVERAGE:
        there = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(0, 360), 1.0)
        there[:, 2] += random.uniform(-SHIFT, SHIFT, 2) * (width, height)
        back = np.asarray(cv2.invertAffineTransform(there), dtype=np.float64)
        covered = coverage(back, (height, width), (height, width))
    turned = cv2.warpAffine(
        frame, there, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    light = turned * random.uniform(*GAIN) + random.uniform(*OFFSET) + random.normal(0, NOISE, turned.shape)
    return np.clip(np.round(light), 0, 255).astype(np.uint8), back


def corner_error_px(found: NDArray[np.float64], true: NDArray[np.float64], frame: Frame) -> float:
    """How far the corner that is worst off lies from its place."""
    height, width = frame.shape[:2]
    corners = np.array(list(itertools.product((0.0, width - 1.0), (0.0, height - 1.0))))
    return float(np.linalg.norm(transform(corners, found) - transform(corners, true), axis=1).max())


def known_motions(pictures: Sequence[Shown], detector: Detector, motions: int) -> list[object]:
    """Cells of one row: how often a known motion is found, and how well."""
    random = np.random.default_rng(0)
    errors, find_ms, align_ms, wrong = [], [], [], 0
    for fixed in pictures:
        for _ in range(motions):
            frame, back = moved(fixed.frame, random)
            moving = show(frame, detector)
            start = time.perf_counter()
            alignment = align(moving.landmarks, fixed.landmarks, ratio=detector.ratio)
            align_ms.append(1000 * (time.perf_counter() - start))
            find_ms.append(moving.find_ms)
            if alignment.found:
                errors.append(corner_error_px(alignment.matrix, back, frame))
                wrong += errors[-1] > WRONG_FROM * max(frame.shape)
    middle, most, worst = np.percentile(errors, [50, 95, 100]) if errors else [np.nan] * 3
    return [
        f"{len(errors)} of {len(align_ms)}",
        wrong,
        f"{middle:.2f} / {most:.2f} / {worst:.2f}",
        f"{np.median(find_ms):.0f}",
        f"{np.median(align_ms):.0f}",
    ]


def grey_differences(
    moving: Frame, fixed: Frame, alignment: Alignment, stay: Alignment
) -> NDArray[np.float64]:
    """Mean absolute difference as taken and aligned, where both cover the fixed frame (not mirrored)."""
    hw = fixed.shape[:2]
    both = np.ones(hw, dtype=bool)
    for matrix in (stay.matrix, alignment.matrix):
        both &= cv2.warpAffine(np.ones(moving.shape[:2], np.uint8), matrix, hw[::-1]) > 0
    grey = cv2.cvtColor(fixed, cv2.COLOR_BGR2GRAY).astype(np.float64)
    views = [cv2.cvtColor(warp(moving, how, hw), cv2.COLOR_BGR2GRAY) for how in (stay, alignment)]
    return np.array([np.abs(view - grey)[both].mean() for view in views])


def different_pictures(pictures: Sequence[Shown], detector: Detector) -> list[object]:
    """Cells of one row: how often two pictures of one part are aligned, and whether they are closer then."""
    nothing = detector.find(np.zeros((16, 16, 3), dtype=np.uint8))
    stay = align(nothing, nothing)
    differences, turned, pairs = [], 0, 0
    for fixed, moving in itertools.combinations(pictures, 2):
        pairs += 1
        alignment = align(moving.landmarks, fixed.landmarks, ratio=detector.ratio)
        if alignment.found:
            turned += abs(alignment.rotation_deg) > 1
            differences.append(grey_differences(moving.frame, fixed.frame, alignment, stay))
    if not differences:
        return [f"0 of {pairs}", "", "", ""]
    before, after = np.mean(differences, axis=0)
    closer = sum(bool(aligned < taken) for taken, aligned in differences)
    return [
        f"{len(differences)} of {pairs}",
        turned,
        f"{before:.1f} to {after:.1f}",
        f"{closer} of {len(differences)}",
    ]


def unrelated_pictures(parts: Sequence[Sequence[Shown]], detector: Detector) -> str:
    """How often pictures of different parts are aligned, which would be wrong."""
    found = [
        align(moving.landmarks, fixed.landmarks, ratio=detector.ratio).found
        for one, other in itertools.combinations(parts, 2)
        for moving, fixed in itertools.product(one, other)
    ]
    return f"{sum(found)} of {len(found)}"


def folder_names(folders: Sequence[Path]) -> list[str]:
    """Folders without what their paths have in common."""
    if len(folders) == 1:
        return [str(folders[0])]
    common = os.path.commonpath([folder.resolve() for folder in folders])
    return [str(folder.resolve().relative_to(common)) for folder in folders]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, metavar="FOLDER")
    parser.add_argument("--detectors", nargs="+", choices=list(DETECTORS), default=list(DETECTORS))
    parser.add_argument("--count", type=int, default=16, help="pictures of each folder")
    parser.add_argument("--motions", type=int, default=4, help="known motions of each picture")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    names = folder_names(options.pictures)
    frames = [
        [read_picture(path).frame for path in find_pictures([folder])[: options.count]]
        for folder in options.pictures
    ]
    known, different, unrelated = [], [], []
    for detector_name in options.detectors:
        detector = DETECTORS[detector_name]
        parts = [[show(frame, detector) for frame in part] for part in frames]
        for name, part in zip(names, parts, strict=True):
            known.append([detector_name, name, *known_motions(part, detector, options.motions)])
            different.append([detector_name, name, *different_pictures(part, detector)])
        if len(parts) > 1:
            unrelated.append([detector_name, unrelated_pictures(parts, detector)])
    motions_header = [
        "detector",
        "pictures",
        "found",
        f"wrong by {WRONG_FROM:.0%} or more",
        "corner off by, median / 95 % / worst, px",
        "landmarks, ms",
        "align, ms",
    ]
    pairs_header = [
        "detector",
        "pictures",
        "found",
        "turned",
        "grey difference, as taken to aligned",
        "closer",
    ]
    parts_of_text = [
        f"Known motions: turned by any angle, shifted by up to {SHIFT:.0%} of each side, noise of {NOISE:g} "
        "grey levels, other brightness.",
        table(motions_header, known),
        "Different pictures of one folder; the difference is the mean over the pixels that are covered.",
        table(pairs_header, different),
    ]
    if unrelated:
        parts_of_text += [
            "Pictures of different folders: all that is found is wrong.",
            table(["detector", "found"], unrelated),
        ]
    data = {"known": known, "different": different, "unrelated": unrelated}
    save("alignment", "\n\n".join(parts_of_text), data)


if __name__ == "__main__":
    main()
