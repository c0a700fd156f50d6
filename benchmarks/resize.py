"""What a cheaper resize than the papers' saves, and what it changes.

    python -m benchmarks.resize --encoder BUNDLE --root MVTEC --shots 4 --seeds 3

Times are of a frame in memory to the encoder's size, in turns. Agreement is of patch distances and image
scores (Spearman, error) of one picture of each object against every other, with both pictures resized alike;
AUROCs are those of `edgead eval`, with thresholds and banks made anew for each resize. ``--root`` is a folder
in MVTec-AD's layout.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import get_args

import msgspec
import numpy as np
from edgead_runtime import Encoder, get_recipe, read_picture
from edgead_runtime.bank import normalize
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.images import Frame
from edgead_runtime.index import nearest_distances
from edgead_runtime.manifest import Interpolation
from edgead_runtime.scoring import image_score
from scipy.stats import spearmanr

from benchmarks.common import PAPERS_RESIZE, real_frames, save, table
from edgead.evaluation.datasets import Category, get_dataset
from edgead.evaluation.pixel_metrics import PRO_LIMIT
from edgead.jobs.evaluate.unit import UnitTask, run_unit

RESIZES: tuple[Interpolation, ...] = get_args(Interpolation)
_METRICS = ("image_auroc", "pixel_auroc", "pixel_ap", "pro")
_COMPARED = 8
"""Pictures of an object that agreement is measured on."""


def with_resize(bundle: EncoderBundle, resize: Interpolation) -> EncoderBundle:
    """The same encoder, its frames resized by another rule."""
    rule = msgspec.structs.replace(bundle.manifest.preprocess, interpolation=resize)
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, preprocess=rule))


def times(encoders: Sequence[Encoder], side: int, turns: int = 30) -> list[float]:
    """Median milliseconds of each resize for frames of a size."""
    frames = real_frames(side, 4)
    taken: list[list[float]] = [[] for _ in encoders]
    for turn in range(turns + 2):
        for encoder, each in zip(encoders, taken, strict=True):
            start = time.perf_counter()
            encoder.preprocessor.resize(frames[turn % len(frames)])
            if turn >= 2:
                each.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(each) for each in taken]


def agreement(encoders: Sequence[Encoder], frames: Sequence[Frame]) -> list[list[tuple[float, float]]]:
    """For each encoder but the first, picture by picture: Spearman, and error of the score."""
    found = []
    for encoder in encoders:
        first, *others = [normalize(encoder.encode(frame).tokens) for frame in frames]
        found.append([nearest_distances(queries, [first]) for queries in others])
    exact = found[0]
    return [
        [
            (float(spearmanr(a, b).statistic), abs(image_score(a, 0.01) / image_score(b, 0.01) - 1))
            for a, b in zip(each, exact, strict=True)
        ]
        for each in found[1:]
    ]


def accuracy(encoder: Encoder, category: Category, shots: int, seeds: int) -> dict[str, float]:
    """Means over the seeds of the metrics of ``edgead eval``."""
    found = defaultdict(list)
    for seed in range(seeds):
        task = UnitTask(category, shots, seed, get_recipe("anomalydino"), PRO_LIMIT, settings="")
        for name, value in run_unit(encoder, task, strict=True).metrics.items():
            found[name].append(value)
    return {name: mean(values) for name, values in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--objects", nargs="*")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    bundle, dataset = EncoderBundle.open(options.encoder), get_dataset("mvtec")
    encoders = [Encoder.load(with_resize(bundle, resize)) for resize in RESIZES]
    by_side = {side: times(encoders, side) for side in options.sides}
    parts = [table(["ms", *RESIZES], [[side, *(f"{ms:.1f}" for ms in row)] for side, row in by_side.items()])]
    near: list[list[object]] = []
    scores: list[list[object]] = []
    for name in options.objects or dataset.objects(options.root, ()):
        category = dataset.load(options.root, name)
        every = [*category.train, *(sample.path for sample in category.test)]
        places = np.linspace(0, len(every) - 1, _COMPARED).astype(int)
        pairs = agreement(encoders, [read_picture(every[place]).frame for place in places])
        for resize, found in zip(RESIZES[1:], pairs, strict=True):
            ranks, errors = zip(*found, strict=True)
            near.append(
                [
                    name,
                    resize,
                    f"{mean(ranks):.4f} / {min(ranks):.4f}",
                    f"{statistics.median(errors):.2%} / {max(errors):.2%}",
                ]
            )
        for resize, encoder in zip(RESIZES, encoders, strict=True):
            metrics = accuracy(encoder, category, options.shots, options.seeds)
            scores.append([name, resize, *(f"{100 * metrics[metric]:.1f}" for metric in _METRICS)])
            print(*scores[-1], flush=True)
    parts.append(table(["object", "resize", "Spearman, mean / worst", "score error, median / worst"], near))
    parts.append(table(["object", "resize", "image AUROC", "pixel AUROC", "pixel AP", "PRO"], scores))
    side = bundle.manifest.input.width
    title = f"To {side} px; {options.shots} shots, {options.seeds} seeds; compared with {PAPERS_RESIZE}."
    save("resize", "\n\n".join([title, *parts]), {"ms": by_side, "agreement": near, "accuracy": scores})


if __name__ == "__main__":
    main()
