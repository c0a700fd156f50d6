"""Time and memory of the pixel metrics on a test set of the size of a full MVTec-AD category.

    python -m benchmarks.metrics --pictures 160 --side 1024 --regions 5

Maps are made from random patch distances by the runtime's own upsampling, as in an evaluation; three
quarters of the pictures have defects. The time includes making each map twice.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass

import numpy as np
from edgead_runtime.anomaly_map import make_map

from benchmarks.common import save, table
from edgead.evaluation.pixel_metrics import Map, Mask, pixel_metrics

GRID = 32


@dataclass(frozen=True)
class MadePicture:
    """A picture whose map and mask come from a seed."""

    seed: int
    side: int
    regions: int

    def anomaly_map(self) -> Map:
        """Higher inside the defects, with overlap."""
        random = np.random.default_rng(self.seed)
        distances = random.random((GRID, GRID)).astype(np.float32)
        for top, left, size in self._boxes():
            patch = self.side // GRID
            distances[
                top // patch : (top + size) // patch + 1, left // patch : (left + size) // patch + 1
            ] += 0.4
        return make_map(distances, (self.side, self.side), 4.0)

    def defective(self) -> Mask:
        """Squares; those that touch are one region."""
        mask = np.zeros((self.side, self.side), dtype=bool)
        for top, left, size in self._boxes():
            mask[top : top + size, left : left + size] = True
        return mask

    def _boxes(self) -> list[tuple[int, int, int]]:
        random = np.random.default_rng(10_000 + self.seed)
        sizes = random.integers(self.side // 40, self.side // 10, self.regions).tolist()
        return [(*random.integers(0, self.side - size, 2).tolist(), size) for size in sizes]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--regions", type=int, default=5)
    options = parser.parse_args()
    pictures = [
        MadePicture(seed, options.side, options.regions if seed % 4 else 0)
        for seed in range(options.pictures)
    ]
    defective = sum(int(picture.defective().sum()) for picture in pictures)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    cpu_start = time.process_time()
    metrics = pixel_metrics(pictures)
    seconds = time.perf_counter() - start
    cpu_seconds = time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        ["pixels", f"{options.pictures * options.side**2 / 1e6:.0f} million"],
        ["defective pixels", f"{defective / 1e6:.1f} million in {metrics.regions} regions"],
        ["time", f"{seconds:.1f} s ({cpu_seconds:.1f} s of CPU)"],
        ["peak memory of the process", f"{peak:.0f} MB (before: {before:.0f} MB)"],
        [
            "pixel AUROC, AP, F1-max",
            f"{metrics.auroc:.4f}, {metrics.average_precision:.4f}, {metrics.f1_max:.4f}",
        ],
        [f"PRO (to {metrics.pro_limit:g})", f"{metrics.pro:.4f}"],
    ]
    title = f"{options.pictures} pictures of {options.side} x {options.side}; exact."
    data = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak, "regions": metrics.regions}
    save("metrics", f"{title}\n\n{table(['', ''], rows)}", data)


if __name__ == "__main__":
    main()
