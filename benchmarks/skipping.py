"""Work that can be skipped: how much time it saves, and what it does to AUROC and verdicts.

    python -m benchmarks.skipping --root DATA          # every object of a folder in the layout of MVTec
    python -m benchmarks.skipping --root DATA --objects hazelnut --limit 6 --parts foreground rest

Three parts, each on real pictures:

foreground  searching for the patches inside the mask alone, against searching for all of them, in turns
cascade     a small encoder first and the full one where that leaves a doubt
rest        a stream in which every part lies under the camera for a few frames with sensor noise: what is
            encoded, and which defects that appear on a part at rest are noticed
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

import numpy as np
from edgead_runtime import Detector, Encoder, Picture, find_recipe, read_picture
from edgead_runtime.cascade import Band, band_from
from edgead_runtime.images import Frame
from edgead_runtime.leading import Companion
from edgead_runtime.pipeline import inspect
from edgead_runtime.siblings import enroll_like
from edgead_runtime.unchanged import UnchangedFrames, largest_change, small_frame, tolerance_from

from benchmarks.common import encoder_bundle, save, table
from edgead.evaluation.datasets import Category, Sample, few_shot, get_dataset
from edgead.evaluation.metrics import image_auroc
from edgead.jobs.bench.statistics import paired_ratio
from edgead.jobs.tune.fidelity import draw_scenes, look
from edgead.selection.synthetic import GoodPart, make_defects

_NOISE = 2.0
"""Grey levels of a sensor: standard deviation a pixel."""
_HELD = 5
"""Frames that a part lies under the camera."""
_TOLERANCES = (2.0, 4.0, 6.0)
_DRAWN = 24
Line = list[object]


@dataclass(frozen=True)
class Shown:
    """A test picture in memory."""

    frame: Frame
    is_anomalous: bool


@dataclass(frozen=True)
class Part:
    """One object, enrolled."""

    name: str
    detector: Detector
    test: tuple[Shown, ...]


def _read(samples: Sequence[Sample], limit: int | None) -> tuple[Shown, ...]:
    """The test pictures, at most ``limit`` of each kind."""
    counts: dict[str, int] = {}
    shown = []
    for sample in samples:
        counts[sample.kind] = counts.get(sample.kind, 0) + 1
        if limit is None or counts[sample.kind] <= limit:
            shown.append(Shown(read_picture(sample.path).frame, sample.is_anomalous))
    return tuple(shown)


# -- foreground --------------------------------------------------------------------------------------------


def foreground(part: Part) -> Line:
    """All patches against those of the mask, by the stages, picture by picture in turns."""
    detector = part.detector
    if not detector.mask.enabled:
        return [part.name, "not masked", "-", "-", "-", "-", "-", "-"]
    ways = [replace(detector._pipeline, foreground_only=only) for only in (False, True)]
    search: list[list[float]] = [[], []]
    totals: list[list[float]] = [[], []]
    scores: list[list[float]] = [[], []]
    shares = []
    for turn, shown in enumerate(part.test):
        for place in range(2):
            way = (turn + place) % 2
            begun = time.perf_counter()
            result = inspect(ways[way], shown.frame, detector._state.memory, detector.calibration).result
            totals[way].append((time.perf_counter() - begun) * 1e3)
            search[way].append(result.timings_ms["search"])
            scores[way].append(result.score)
        shares.append(0.0 if result.mask is None else float(result.mask.mean()))
    truth = [shown.is_anomalous for shown in part.test]
    searched, whole = paired_ratio(search[1], search[0]), paired_ratio(totals[1], totals[0])
    return [
        part.name,
        f"{mean(shares):.0%}",
        f"{median(search[0]):.1f}",
        f"{median(search[1]):.1f}",
        f"{searched.ratio:.2f} ({searched.low:.2f} to {searched.high:.2f})",
        f"{whole.ratio:.2f} ({whole.low:.2f} to {whole.high:.2f})",
        f"{max(abs(one - two) / one for one, two in zip(*scores, strict=True)):.1e}",
        f"{100 * (image_auroc(scores[1], truth) - image_auroc(scores[0], truth)):+.2f}",
    ]


# -- cascade -----------------------------------------------------------------------------------------------


def cascade(part: Part, small: Companion) -> list[Line]:
    """Every test picture by both settings; then what two bands would have made of them."""
    full, quick = part.detector, small.detector
    times: list[list[float]] = [[], []]
    scores: list[list[float]] = [[], []]
    for turn, shown in enumerate(part.test):
        for place in range(2):
            way = (turn + place) % 2
            begun = time.perf_counter()
            scores[way].append((full, quick)[way](shown.frame).times_threshold)
            times[way].append((time.perf_counter() - begun) * 1e3)
    truth = [shown.is_anomalous for shown in part.test]
    scenes = draw_scenes(full)
    seen = [look(each, scenes, "", lambda *_: None) for each in (quick, full)]
    pairs = [(one.times_threshold, two.times_threshold) for one, two in zip(*seen, strict=True)]
    good = [pair for pair, scene in zip(pairs, scenes, strict=True) if not scene.is_defective]
    drawn = [pair for pair, scene in zip(pairs, scenes, strict=True) if scene.is_defective]
    lines = [_verdicts(part, "full", times, scores[0], scores[0], truth, [True] * len(truth), None)]
    lines.append(_verdicts(part, "small", times, scores[0], scores[1], truth, [False] * len(truth), None))
    for name, band in (("good pictures", band_from(good)), ("and drawn defects", band_from(good, drawn))):
        twice = [not band.is_clear(score) for score in scores[1]]
        answered = [two if again else one for again, two, one in zip(twice, *scores, strict=True)]
        lines.append(_verdicts(part, name, times, scores[0], answered, truth, twice, band))
    return lines


def _verdicts(
    part: Part,
    name: str,
    times: Sequence[Sequence[float]],
    full: Sequence[float],
    scores: Sequence[float],
    truth: Sequence[bool],
    twice: Sequence[bool],
    band: Band | None,
) -> Line:
    # A full look alone is no second one.
    first = 0.0 if name == "full" else median(times[1])
    good = [again for again, bad in zip(twice, truth, strict=True) if not bad]
    usual = first + mean(good) * median(times[0])
    passed = sum(one > 1 >= other for one, other in zip(full, scores, strict=True))
    alarmed = sum(one <= 1 < other for one, other in zip(full, scores, strict=True))
    defects = [again for again, bad in zip(twice, truth, strict=True) if bad]
    return [
        part.name,
        name,
        "-" if band is None else f"{band.low:.2f} to {band.high:.2f}",
        "-" if band is None else f"{mean(good):.0%}",
        "-" if band is None else f"{mean(defects):.0%}",
        f"{usual / median(times[0]):.2f}",
        f"{100 * image_auroc(scores, truth):.1f}",
        f"{passed} of {sum(one > 1 for one in full)}",
        alarmed,
    ]


# -- rest --------------------------------------------------------------------------------------------------


def _noisy(frame: Frame, random: np.random.Generator) -> Frame:
    noise = random.standard_normal(frame.shape, dtype=np.float32) * _NOISE
    return np.asarray(np.clip(np.rint(frame + noise), 0, 255), dtype=np.uint8)


def rest(part: Part) -> list[Line]:
    """A line a tolerance."""
    random = np.random.default_rng(0)
    good = [shown.frame for shown in part.test if not shown.is_anomalous]
    everywhere = [GoodPart(frame, np.ones(frame.shape[:2], dtype=np.bool_)) for frame in good]
    defects = [
        (place % len(good), make_defects(everywhere[place % len(good)], everywhere, 1, place)[0].frame)
        for place in range(_DRAWN)
    ]
    changes = [
        largest_change(small_frame(_noisy(good[place], random)), small_frame(_noisy(frame, random)))
        for place, frame in defects
    ]
    measured = tolerance_from([_noisy(good[0], random) for _ in range(10)])
    lines = []
    for tolerance in (measured, *_TOLERANCES):
        look_at = UnchangedFrames(part.detector, tolerance)
        compare_ms, repeated_scores, scores = [], [], []
        begun = time.perf_counter()
        for shown in part.test:
            for number in range(_HELD):
                result = look_at(_noisy(shown.frame, random))
                if result.repeated:
                    compare_ms.append(result.timings_ms["compare"])
                if number == _HELD - 1:
                    repeated_scores.append(result.score)
                if number == 0:
                    scores.append(result.score)
        stream_s = time.perf_counter() - begun
        truth = [shown.is_anomalous for shown in part.test]
        frames = len(part.test) * _HELD
        lines.append(
            [
                part.name,
                f"{tolerance:.1f}" + (" (measured)" if tolerance == measured else ""),
                f"{look_at.repeated / frames:.0%}",
                f"{median(compare_ms):.1f}" if compare_ms else "-",
                f"{1e3 * stream_s / frames:.0f}",
                f"{100 * (image_auroc(repeated_scores, truth) - image_auroc(scores, truth)):+.2f}",
                f"{sum(change > tolerance for change in changes)} of {len(changes)}",
            ]
        )
    return lines


# -- all of it ---------------------------------------------------------------------------------------------

_HEADERS = {
    "foreground": [
        "object", "mask", "search, all (ms)", "inside (ms)", "ratio of the search", "ratio of the frame",
        "largest error of a score", "AUROC, points",
    ],
    "cascade": [
        "object", "band from", "band", "second looks, good", "defective", "time of a good picture, of full",
        "AUROC", "full alarms passed", "alarms that full has not",
    ],
    "rest": [
        "object", "tolerance", "repeated", "comparing (ms)", "frame, mean (ms)", "AUROC, points",
        "drawn defects noticed",
    ],
}  # fmt: skip


def measure(options: argparse.Namespace, small: Encoder, full: Encoder) -> dict[str, list[Line]]:
    """Every part on every object."""
    dataset = get_dataset("mvtec")
    found: dict[str, list[Line]] = {name: [] for name in options.parts}
    recipe = find_recipe(options.recipe)
    for name in options.objects or dataset.objects(options.root, ()):
        category: Category = dataset.load(options.root, name)
        good: list[Picture] = [read_picture(path) for path in few_shot(category.train, options.shots, 0)]
        detector = Detector.enroll(full, good, recipe=recipe)
        detector.any_size = True
        part = Part(name, detector, _read(category.test, options.limit))
        parts = {
            "foreground": lambda part=part: [foreground(part)],
            "cascade": lambda part=part: cascade(part, enroll_like(part.detector, small)),
            "rest": functools.partial(rest, part),
        }
        for each in options.parts:
            rows = parts[each]()
            found[each] += rows
            print(table(_HEADERS[each], rows), flush=True)  # a run that is ended early has said something
    return found


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="folder in MVTec's layout")
    parser.add_argument("--objects", nargs="*")
    parser.add_argument("--parts", nargs="*", default=list(_HEADERS), choices=list(_HEADERS))
    parser.add_argument("--encoder", type=Path, help="full; default: dinov2_s at 448")
    parser.add_argument("--small", type=Path, help="default: dinov2_s at 224")
    parser.add_argument("--recipe", default="anomalydino")
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--limit", type=int, help="test pictures of a kind; default: all")
    options = parser.parse_args()
    full_bundle, small_bundle = options.encoder or encoder_bundle(448), options.small or encoder_bundle(224)
    with Encoder.load(full_bundle) as full, Encoder.load(small_bundle) as small:
        found = measure(options, small, full)
        sizes = [encoder.manifest.input.width for encoder in (full, small)]
        title = (
            f"{options.recipe}, {options.shots} shots, {full.manifest.backbone} at {sizes[0]}"
            f" (cascade: {sizes[1]} first), {full.engine_name}, weights {full.manifest.weights.source}"
        )
    text = "\n\n".join(
        [title, *(f"**{name}**\n\n{table(_HEADERS[name], rows)}" for name, rows in found.items())]
    )
    save("skipping", text, {"title": title, **found})


if __name__ == "__main__":
    main()
