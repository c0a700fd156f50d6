"""Time of the anomaly map, from patch distances to the size of the frame, and what faster ways change.

    python -m benchmarks.maps --sides 448 1024 3072

Four ways in turns: two small matrices (the runtime's), OpenCV's resize and Gaussian at the size of the frame,
the same with the Gaussian at the encoder's size and sigma scaled, and SciPy as in AnomalyDINO's release.
Differences are to SciPy in double precision, as a share of the map's peak, on random distances: the roughest
that a map can be made of.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from edgead_runtime.anomaly_map import axis_matrix, make_map
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.common import save, table

SIGMA_PX = 4.0
ENCODER_SIDE = 448
GRID = ENCODER_SIDE // 14

Floats = NDArray[np.float32]
Way = Callable[[Floats, int], Floats]


def by_matrices(distances: Floats, side: int) -> Floats:
    """The runtime's."""
    return make_map(distances, (side, side), SIGMA_PX)


def by_opencv(distances: Floats, side: int) -> Floats:
    """Resized, then smoothed at the size of the frame."""
    return _blurred(_resized(distances, side), SIGMA_PX)


def by_opencv_small(distances: Floats, side: int) -> Floats:
    """Smoothed at the encoder's size, then resized."""
    small = _blurred(_resized(distances, ENCODER_SIDE), SIGMA_PX * ENCODER_SIDE / side)
    return _resized(small, side)


def by_scipy(distances: Floats, side: int) -> Floats:
    """As in the release, but for the resize, which is OpenCV's here."""
    return np.asarray(ndimage.gaussian_filter(_resized(distances, side), SIGMA_PX), dtype=np.float32)


WAYS: dict[str, Way] = {
    "two matrices": by_matrices,
    "OpenCV": by_opencv,
    "OpenCV, smoothed small": by_opencv_small,
    "SciPy": by_scipy,
}


def _resized(picture: Floats, side: int) -> Floats:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _blurred(picture: Floats, sigma: float) -> Floats:
    size = 2 * int(4 * sigma + 0.5) + 1
    blurred = cv2.GaussianBlur(picture, (size, size), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, dtype=np.float32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[448, 1024, 3072], help="of the frame, pixels"
    )
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    rows = []
    for side in options.sides:
        distances = np.random.default_rng(0).random((GRID, GRID)).astype(np.float32)
        exact = ndimage.gaussian_filter(_resized(distances, side).astype(np.float64), SIGMA_PX)
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        axis_matrix.cache_clear()
        for _ in range(options.runs):
            for name, way in WAYS.items():
                start = time.perf_counter()
                way(distances, side)
                times[name].append((time.perf_counter() - start) * 1e3)
        slowest = statistics.median(times["SciPy"])
        for name, way in WAYS.items():
            ms = statistics.median(times[name])
            difference = np.abs(way(distances, side) - exact).max() / exact.max()
            rows.append((side, name, f"{ms:.2f}", f"{slowest / ms:.1f}x", f"{difference:.1e}"))
    header = ("side", "way", "ms", "times as fast as SciPy", "largest difference")
    save("maps", table(header, rows), {"rows": [dict(zip(header, row, strict=True)) for row in rows]})


if __name__ == "__main__":
    main()
