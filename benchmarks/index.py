"""Searching banks of different sizes: what each index costs, and what it does to distances and image scores.

    python -m benchmarks.index --data FOLDER                 # 8k, 32k and 100k patches, all indexes
    python -m benchmarks.index --data FOLDER --docs          # and write the tables into docs/benchmarks.md
    python -m benchmarks.index --data FOLDER --rows 8192 --turns 1

FOLDER is one object in the layout of MVTec AD. The bank is of its good pictures, each as taken, mirrored both
ways and cropped, all encoded; the queries are its test pictures, good and defective. Frames go from pixels to
score. All ways take turns, a few frames at a time, of which the first is not counted. ``found`` is before the
distances that the score is made from are settled, ``settled`` is what a detector gives.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from edgead_runtime import Detector, Encoder, Picture, find_pictures, get_recipe, read_picture
from edgead_runtime.bank import normalize
from edgead_runtime.files import write_atomic
from edgead_runtime.images import Frame
from edgead_runtime.index import EXACT, installed_indexes
from edgead_runtime.memory import Memory
from edgead_runtime.pipeline import Pipeline
from edgead_runtime.scoring import image_score
from scipy.stats import spearmanr

from benchmarks.common import encoder_bundle, machine, save, table
from benchmarks.documents import fill
from benchmarks.other_indexes import register
from benchmarks.undisturbed import least_disturbed
from edgead.evaluation.remembering import RememberingEncoder
from edgead.jobs.bench.statistics import paired_ratio

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
ROWS = (8_192, 32_768, 102_400)
CORESETS = (0.5, 0.25, 0.1)
GRAPH = "hnsw"
STORED = ("fp16", "int8")
TURNS_OF = 3
ONE = "one reference"


@dataclass
class Way:
    """One way to search one bank."""

    name: str
    rows: int
    detector: Detector
    build_s: float = 0.0
    megabytes: float = 0.0
    frame_ms: list[float] = field(default_factory=list)
    search_ms: list[float] = field(default_factory=list)
    stolen: list[float] = field(default_factory=list)
    """Of the cores' time in each turn, what a virtual machine's host took."""
    recall: float = 1.0
    spearman: float = 1.0
    distance_error: float = 0.0
    found_errors: list[float] = field(default_factory=list)
    settled_errors: list[float] = field(default_factory=list)


def variants(frame: Frame) -> list[Frame]:
    """A picture as taken, mirrored and cropped."""
    height, width = frame.shape[:2]
    made = [frame, frame[:, ::-1], frame[::-1], frame[height // 16 :, : -(width // 16)]]
    return [np.ascontiguousarray(one) for one in made]


def pictures_of(folder: Path, count: int) -> tuple[list[Picture], list[Frame]]:
    """Good pictures to fill a bank with, and pictures to inspect."""
    good = [read_picture(path).frame for path in find_pictures([folder / "train" / "good"])]
    bank = [Picture(f"{index}.png", frame) for index, frame in enumerate(_by_variant(good))]
    if len(bank) < count:
        raise SystemExit(f"{folder} has {len(good)} good pictures, enough for {len(bank)} references")
    kinds = sorted(kind for kind in (folder / "test").iterdir() if kind.is_dir())
    tested = [path for kind in kinds for path in find_pictures([kind])[:8]]
    return bank[:count], [read_picture(path).frame for path in tested]


def _by_variant(good: Sequence[Frame]) -> list[Frame]:
    """First all as taken, then all mirrored: a small bank is of different pictures."""
    made = [variants(frame) for frame in good]
    return [frames[kind] for kind in range(len(made[0])) for frames in made]


def enroll(
    encoder: RememberingEncoder, good: Sequence[Picture], held_out: Frame, **changes: object
) -> Detector:
    """A detector whose threshold takes no time to find."""
    recipe = get_recipe("anomalydino-informed").with_(mask="off", **changes)
    return Detector.enroll(encoder, good, recipe=recipe, calibration_good=[held_out])


def ways_for(base: Detector, encoder: Encoder, indexes: Sequence[str]) -> list[Way]:
    """The bank of a detector with each index."""
    pipeline = Pipeline(encoder, base.recipe, base.mask)
    ways = []
    for index in indexes:
        memory = Memory(base.references, base.recipe, base.coreset)
        start = time.perf_counter()
        if index != EXACT:
            memory = memory.searched_with(index)
        took = time.perf_counter() - start
        beside = sum(one.nbytes for one in memory.indexes) / 2**20
        detector = Detector(pipeline, memory, base.calibration)
        ways.append(Way(index, base.rows, detector, took, beside))
    return ways


def take_turns(ways: Sequence[Way], frames: Sequence[Frame], turns: int) -> None:
    """Time whole frames."""
    for turn in range(turns + 1):
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            chosen = [frames[(turn * TURNS_OF + number) % len(frames)] for number in range(TURNS_OF)]
            stolen, taken = least_disturbed(lambda way=way, chosen=chosen: _turn(way.detector, chosen))
            if turn:
                way.stolen.append(stolen)
                way.frame_ms += [frame_ms for frame_ms, _ in taken]
                way.search_ms += [search_ms for _, search_ms in taken]


def _turn(detector: Detector, frames: Sequence[Frame]) -> list[tuple[float, float]]:
    """Milliseconds of each frame but the first, and of its search where that is told apart."""
    times = []
    for frame in frames:
        start = time.perf_counter()
        result = detector(frame)
        times.append(((time.perf_counter() - start) * 1e3, result.timings_ms.get("search", float("nan"))))
    return times[1:]


def compare(ways: Sequence[Way], exact: Detector, encoder: Encoder, frames: Sequence[Frame]) -> None:
    """What each way does to distances and scores, beside exact search of all patches."""
    layer = exact.recipe.layers
    fraction = exact.recipe.top_fraction
    pipeline = Pipeline(encoder, exact.recipe, exact.mask)
    whole = Memory(exact.references, exact.recipe)
    queries = [normalize(encoder.encode(frame, layers=layer).tokens) for frame in frames]
    truths = [whole.distances((tokens,))[0] for tokens in queries]
    for way in ways:
        hits, spearman, errors = [], [], []
        memory = way.detector._state.memory
        for tokens, truth in zip(queries, truths, strict=True):
            score = image_score(truth, fraction)
            found = memory.distances((tokens,))[0]
            settled = pipeline.compare((tokens,), None, memory).for_score.ravel()
            hits.append(float((np.abs(found - truth) < 1e-5).mean()))
            spearman.append(float(spearmanr(settled, truth)[0]))
            errors.append(float(np.abs(settled - truth).max()))
            way.found_errors.append(100 * abs(image_score(found, fraction) / score - 1))
            way.settled_errors.append(100 * abs(image_score(settled, fraction) / score - 1))
        way.recall, way.spearman, way.distance_error = statistics.mean(hits), min(spearman), max(errors)


def measure(options: argparse.Namespace) -> list[Way]:
    """All ways at all sizes; the one reference first."""
    bundle = encoder_bundle(options.res, (options.layer,), fuse=True)
    with (
        RememberingEncoder.load(bundle) as remembering,
        Encoder.load(bundle, engine=options.engine, precision=options.precision) as encoder,
    ):
        patches = int(np.prod(encoder.manifest.grid))
        counts = [max(2, rows // patches) for rows in options.rows]
        good, frames = pictures_of(options.data, max(counts))
        single = enroll(remembering, good[:1], frames[0])
        everything = []
        for count in counts:
            print(f"{count} references", flush=True)
            (first,) = ways_for(single, encoder, [EXACT])
            first.name = ONE
            base = enroll(remembering, good[:count], frames[0])
            ways = ways_for(base, encoder, [EXACT, *options.indexes])
            for share in CORESETS:
                start = time.perf_counter()
                small = enroll(remembering, good[:count], frames[0], coreset=share)
                took = time.perf_counter() - start
                searches = [EXACT, GRAPH] if GRAPH in options.indexes and count > counts[0] else [EXACT]
                for way, search in zip(ways_for(small, encoder, searches), searches, strict=True):
                    way.name = f"coreset {share:.0%}" + f", {search}" * (search != EXACT)
                    way.build_s += took
                    ways.append(way)
            for stored in STORED if count == counts[0] else ():
                (way,) = ways_for(
                    enroll(remembering, good[:count], frames[0], keep_as=stored), encoder, [EXACT]
                )
                way.name = f"kept as {stored}"
                ways.append(way)
            take_turns([first, *ways], frames, options.turns)
            compare(ways, base, encoder, frames)
            for way in ways:
                way.recall = way.recall if way.name in (EXACT, *options.indexes) else float("nan")
            everything += [first, *ways]
        return everything


def near_duplicates(detector: Detector) -> str:
    """How many patches of a bank differ from another one by no more than a few lengths."""
    rows = np.concatenate([reference.tokens[0] for reference in detector.references])
    nearest = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 1024):
        similarities = rows[start : start + 1024] @ rows.T
        similarities[np.arange(len(similarities)), start + np.arange(len(similarities))] = -1
        nearest[start : start + 1024] = similarities.max(axis=1)
    lengths = np.sqrt(2 * np.clip(1 - nearest, 0, 2))
    shares = [f"{(lengths <= within).mean():.1%} within {within}" for within in (0.01, 0.03, 0.1)]
    return f"Patches of {len(rows):,} that have another near them: {', '.join(shares)}."


def report(ways: Sequence[Way]) -> str:
    """A line a way; each follows the one reference that it was measured in turns with."""
    rows = []
    one = ways[0]
    for way in ways:
        frame = statistics.median(way.frame_ms)
        line = [f"{way.rows:,}", way.name, f"{way.build_s:.1f}", f"{way.megabytes:.0f}"]
        line += [f"{statistics.median(way.search_ms):.0f}", f"{frame:.0f}"]
        if way.name == ONE:
            one = way
            rows.append([*line, "1", *["-"] * 5])
            continue
        ratio = paired_ratio(way.frame_ms, one.frame_ms)
        line.append(f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
        line.append("-" if np.isnan(way.recall) else f"{way.recall:.3f}")
        for errors in (way.found_errors, way.settled_errors):
            line.append(f"{statistics.median(errors):.2f} / {max(errors):.2f}")
        rows.append([*line, f"{way.distance_error:.3f}", f"{way.spearman:.4f}"])
    header = ["patches", "search", "build s", "MB beside", "search ms", "frame ms", "times one reference"]
    header += ["recall@1", "found: score error %", "settled: score error %", "distance error", "Spearman"]
    text = table(header, rows).replace("| nan |", "| in the graph |")
    return (
        f"{machine()['cores']} cores of {machine()['cpu']}. Score errors: median / worst over all test "
        f"pictures. Distance error and Spearman (of the patches' distances): the worst picture's. "
        f"{near_duplicates(ways[1].detector)}\n\n{text}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="one object in MVTec AD's layout")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="of the bank")
    parser.add_argument("--res", type=int, default=448)
    parser.add_argument(
        "--layer", type=int, default=9, help="block whose features are taken, and the last run"
    )
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--indexes", nargs="+", help="these alone")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/benchmarks.md")
    options = parser.parse_args()
    others = register()
    options.indexes = options.indexes or list(dict.fromkeys([*installed_indexes(), *others]))
    ways = measure(options)
    text = report(ways)
    data = [{**asdict(way), "detector": None} for way in [_without_detector(way) for way in ways]]
    save("index", text, {"ways": data})
    if options.docs:
        write_atomic(PAGE, fill(PAGE.read_text(encoding="utf-8"), "index", text).encode())


def _without_detector(way: Way) -> Way:
    way.detector = None  # type: ignore[assignment]  # figures are all that is left to say
    return way


if __name__ == "__main__":
    main()
