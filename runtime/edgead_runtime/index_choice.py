"""``index="auto"``: how a bank is searched on this machine, measured once with its own good pictures."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead_runtime._version import __version__
from edgead_runtime.bank import Reference
from edgead_runtime.cache import cache_dir
from edgead_runtime.cores import cpu_name, usable_cores
from edgead_runtime.errors import IndexUnavailableError
from edgead_runtime.fused import bank_for, inspect_fused
from edgead_runtime.images import Frame
from edgead_runtime.index import AUTO, EXACT, IN_ENGINE, INDEXES, check_index, installed_indexes
from edgead_runtime.installed import version_of
from edgead_runtime.memory import Memory
from edgead_runtime.pipeline import Pipeline, Thresholds, inspect
from edgead_runtime.remembered import recall, remember
from edgead_runtime.result import Result

REMEMBERED = "indexes.json"
EXACT_BELOW = 16_384
"""Rows under which nothing is measured: exact search takes a few hundredths of a second."""
MOST_MEDIAN_ERROR = 0.01
MOST_ERROR = 0.03
"""Of the image score, as a share of it: an index that errs more is not chosen however fast it is."""
_PROBES = 6
"""Good pictures that are left out of the bank and compared with it, by every index."""
_TURNS = 3
"""The first is not timed."""
_AT_LEAST = 1.05
"""How much faster than exact search an index must make the frame."""
_SAME = 1e-5
"""Distances that differ by less are to the same row, or to one as near."""


class IndexMeasurement(msgspec.Struct, frozen=True):
    """What one index does to the frames of this detector."""

    index: str
    frame_ms: float
    """Median of a whole frame, from pixels to score."""
    build_s: float
    recall_at_1: float
    """Share of the patches whose nearest it found."""
    distance_error: float
    """The largest, after settling (in the recipe's scale)."""
    score_error_median: float
    score_error_worst: float
    """Of the image score, as a share of the exact one."""

    @property
    def is_faithful(self) -> bool:
        """Whether its scores are near enough to the exact ones."""
        return self.score_error_median <= MOST_MEDIAN_ERROR and self.score_error_worst <= MOST_ERROR


class _Remembered(msgspec.Struct, frozen=True):
    index: str
    measured: list[IndexMeasurement]


@dataclass(frozen=True)
class IndexChoice:
    """How a detector searches, and why."""

    index: str
    reason: str
    measured: tuple[IndexMeasurement, ...] = ()


class _NoThresholds:
    threshold = float("inf")
    pixel_threshold = float("inf")


def choose_index(
    pipeline: Pipeline, memory: Memory, index: str = AUTO, threads: int | None = None
) -> tuple[Memory, IndexChoice]:
    """The memory as it is to be searched.

    Args:
        pipeline: The method.
        memory: Searched exactly.
        index: :data:`AUTO`, :data:`EXACT`, :data:`IN_ENGINE` or a name of
            :data:`edgead_runtime.index.INDEXES`.
        threads: Of an index that has threads of its own.

    Raises:
        IndexUnavailableError: It is unknown, not installed, or does not do what the recipe asks for.
        EngineUnavailableError: The engine has to be built for the search, and was not.
    """
    check_index(index)
    recipe = pipeline.recipe
    if index == IN_ENGINE:
        return _in_engine(pipeline, memory), IndexChoice(index, "asked for")
    if index not in (AUTO, EXACT) and not recipe.asks_for_nearest:
        raise IndexUnavailableError(
            f"index '{index}' finds the nearest patch alone, and recipe '{recipe.name}' asks for more",
            f"Leave the index out, or choose {EXACT}.",
        )
    choice = _choice(pipeline, memory, index, threads)
    if choice.index == EXACT:
        return memory, choice
    return memory.searched_with(choice.index, threads, keep=True), choice


def _in_engine(pipeline: Pipeline, memory: Memory) -> Memory:
    encoder, recipe = pipeline.encoder, pipeline.recipe
    if recipe.head != "bank":
        raise IndexUnavailableError(
            f"recipe '{recipe.name}' keeps no patches to search in",
            f"Leave the index out, or choose {EXACT}.",
        )
    for output in encoder.feature_outputs(recipe.layers):
        encoder.search_engine(output.dim, recipe.neighbours)  # what is not there is said now
    return replace(memory, search=encoder.search_engine)


def _choice(pipeline: Pipeline, memory: Memory, index: str, threads: int | None) -> IndexChoice:
    if index != AUTO:
        return IndexChoice(index, "asked for")
    if not pipeline.recipe.asks_for_nearest:
        return IndexChoice(EXACT, "the recipe asks for more than the nearest patch")
    if memory.rows < EXACT_BELOW:
        return IndexChoice(EXACT, f"{memory.rows:,} patches are searched fast enough")
    if len(memory.references) < 2:
        return IndexChoice(EXACT, "with one good picture there is nothing to measure with")
    path, key = cache_dir() / REMEMBERED, _key(pipeline, memory, threads)
    if not _probed(memory):
        return IndexChoice(EXACT, "too few patches are left beside the good pictures to measure with")
    known = recall(path, _Remembered).get(key)
    if known is None or not _makes_sense(known):
        measured = measure_indexes(pipeline, memory, installed_indexes(), threads)
        known = _Remembered(_best(measured), list(measured))
        remember(path, key, known)
    return IndexChoice(known.index, _reason(known), tuple(known.measured))


def measure_indexes(
    pipeline: Pipeline, memory: Memory, indexes: Sequence[str], threads: int | None = None
) -> tuple[IndexMeasurement, ...]:
    """Compare some of the good pictures with the others, by every index and exactly, in turns.

    Args:
        pipeline: The method.
        memory: At least two references, that share its patches well enough for some to be left out.
        indexes: Names of :data:`edgead_runtime.index.INDEXES`.
        threads: See :func:`choose_index`.

    Returns:
        Exact search first.
    """
    probes, others = _split(memory)
    frames = [probe.picture.frame for probe in probes]
    built = {EXACT: others}
    build_s = {EXACT: 0.0}
    for index in indexes:
        start = time.perf_counter()
        built[index] = others.searched_with(index, threads)
        build_s[index] = time.perf_counter() - start
    ways = {name: _way(pipeline, searched) for name, searched in built.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, list[Result]] = {name: [] for name in ways}
    for turn in range(_TURNS):
        for frame in frames:
            for name, way in ways.items():
                start = time.perf_counter()
                result = way(frame)
                if turn:
                    times[name].append((time.perf_counter() - start) * 1e3)
                else:
                    results[name].append(result)
    queries = [pipeline.patches_as_taken(probe) for probe in probes]
    nearest = [others.distances(layers)[-1] for layers in queries]
    return tuple(
        _measurement(
            name,
            statistics.median(times[name]),
            build_s[name],
            [searched.distances(layers)[-1] for layers in queries],
            nearest,
            results[name],
            results[EXACT],
        )
        for name, searched in built.items()
    )


def _measurement(
    name: str,
    frame_ms: float,
    build_s: float,
    found: Sequence[NDArray[np.float32]],
    nearest: Sequence[NDArray[np.float32]],
    results: Sequence[Result],
    exact: Sequence[Result],
) -> IndexMeasurement:
    errors = [
        abs(one.score - true.score) / max(true.score, _SAME) for one, true in zip(results, exact, strict=True)
    ]
    return IndexMeasurement(
        index=name,
        frame_ms=round(frame_ms, 2),
        build_s=round(build_s, 2),
        recall_at_1=float(np.mean(np.concatenate(found) <= np.concatenate(nearest) + _SAME)),
        distance_error=max(
            float(np.abs(one.patch_distances - true.patch_distances).max())
            for one, true in zip(results, exact, strict=True)
        ),
        score_error_median=statistics.median(errors),
        score_error_worst=max(errors),
    )


def _probed(memory: Memory) -> set[int]:
    """Numbers of the references to measure with, from all over the enrolment.

    The others keep at least half of the patches: of a coreset few references may have nearly all, and an
    index over the rest would say nothing of one over the bank.
    """
    count = len(memory.references)
    rows = [len(reference.tokens[-1]) for reference in memory.references]
    chosen = {round(place) for place in np.linspace(0, count - 1, min(_PROBES, count // 2))}
    while chosen and 2 * sum(rows[index] for index in chosen) > sum(rows):
        chosen.remove(max(chosen, key=lambda index: rows[index]))
    return chosen


def _split(memory: Memory) -> tuple[list[Reference], Memory]:
    """The references to measure with, and a memory of the others."""
    chosen = _probed(memory)
    probes = [reference for index, reference in enumerate(memory.references) if index in chosen]
    return probes, memory.of([one for index, one in enumerate(memory.references) if index not in chosen])


def _way(pipeline: Pipeline, memory: Memory) -> Callable[[Frame], Result]:
    """A frame as a detector with this memory would inspect it."""
    nothing: Thresholds = _NoThresholds()
    bank = bank_for(pipeline, memory)
    if bank is None:
        return lambda frame: inspect(pipeline, frame, memory, nothing).result
    return lambda frame: inspect_fused(pipeline, frame, bank, nothing)


def _best(measured: Sequence[IndexMeasurement]) -> str:
    exact = measured[0]
    fit = [one for one in measured[1:] if one.is_faithful and exact.frame_ms > _AT_LEAST * one.frame_ms]
    return min(fit, key=lambda one: one.frame_ms).index if fit else exact.index


def _reason(known: _Remembered) -> str:
    by_name = {one.index: one for one in known.measured}
    exact, chosen = by_name[EXACT], by_name[known.index]
    if known.index != EXACT:
        return (
            f"a frame takes {chosen.frame_ms:.0f} ms instead of {exact.frame_ms:.0f}; image scores of good "
            f"pictures differ by {chosen.score_error_worst:.2%} at most, single distances by "
            f"{chosen.distance_error:.2g}"
        )
    others = ", ".join(
        f"{one.index} {one.frame_ms:.0f} ms" + ("" if one.is_faithful else " and wrong scores")
        for one in known.measured
        if one.index != EXACT
    )
    return f"nothing measured was faster than its {exact.frame_ms:.0f} ms a frame ({others})"


def _key(pipeline: Pipeline, memory: Memory, threads: int | None) -> str:
    """Everything that another measurement could come out differently for."""
    facts = [
        __version__,
        cpu_name(),
        f"{usable_cores()} {threads}",
        *(f"{name} {_version(name)}" for name in installed_indexes()),
        pipeline.encoder.fingerprint,
        f"{pipeline.encoder.engine_name} {pipeline.encoder.frame_file is not None}",
        repr(pipeline.recipe),
        f"{pipeline.mask!r} {pipeline.foreground_only}",
        *(f"{reference.digest} {len(reference.tokens[-1])}" for reference in memory.references),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _version(index: str) -> str:
    """Of the package that an index comes from."""
    package = INDEXES[index].requires
    return __version__ if package is None else version_of(package)


def _makes_sense(known: _Remembered) -> bool:
    """Whether an entry says how this machine can search; a file can be valid and yet say nothing of use."""
    names = {one.index for one in known.measured}
    return {EXACT, known.index} <= names <= {EXACT, *installed_indexes()}
