"""``engine="auto"``: the fastest engine for a graph on this machine, measured once and remembered."""

from __future__ import annotations

import hashlib
import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from edgead_runtime.cache import cache_dir
from edgead_runtime.cores import cpu_name, usable_cores
from edgead_runtime.engines.protocol import Array, Engine, EngineOptions, EngineSpec
from edgead_runtime.errors import (
    EdgeadError,
    EngineBuildError,
    EngineMismatchError,
    EngineUnavailableError,
)
from edgead_runtime.installed import version_of
from edgead_runtime.remembered import recall, remember

log = logging.getLogger("edgead.engines")
REMEMBERED = "engines.json"
_WARM_UP_RUNS = 2
_RUNS = 5
_AT_LEAST = 1.05
"""How much faster than the table's first another must be: less is within what a measurement repeats to."""

Create = Callable[[EngineSpec, bytes, EngineOptions], Engine]


class Measured(msgspec.Struct, frozen=True):
    """What was measured once."""

    engine: str
    ms: dict[str, float]
    """Median run of every engine that could run the graph."""


def fastest(
    specs: Sequence[EngineSpec],
    model: bytes,
    options: EngineOptions,
    sample: Mapping[str, Array],
    create: Create,
) -> Engine:
    """The fastest of several engines, by the clock or from memory.

    Args:
        specs: Installed engines that have the device and precision; more than one.
        model: The ONNX file's bytes.
        options: Device, threads and precision.
        sample: Inputs to measure with.
        create: Makes an engine.

    Raises:
        EngineUnavailableError: None of them runs the graph.
    """
    path = cache_dir() / REMEMBERED
    key = _key(specs, model, options)
    known = recall(path, Measured).get(key)
    by_name = {spec.name: spec for spec in specs}
    if known is not None and known.engine in by_name:
        return create(by_name[known.engine], model, options)
    engines: dict[str, Engine] = {}
    problems = []
    for spec in specs:
        try:
            engines[spec.name] = create(spec, model, options)
        except EdgeadError as error:  # half an installation of one is no reason not to use another
            problems.append(f"{spec.name}: {error.problem}")
            if isinstance(error, (EngineMismatchError, EngineBuildError)):  # somebody built it, or meant to
                log.warning("%s is left out. %s", spec.name, error)
    if not engines:
        raise EngineUnavailableError(
            f"no engine runs the graph ({'; '.join(problems)})", "Export the encoder again."
        )
    chosen = None
    try:
        ms = measure(engines, sample)
        first = next(iter(ms))
        best = min(ms, key=lambda name: ms[name])
        chosen = best if ms[first] > _AT_LEAST * ms[best] else first
    finally:
        for name, engine in engines.items():
            if name != chosen:
                engine.close()
    if not problems:  # one that was missing today may be the faster one tomorrow
        remember(path, key, Measured(chosen, {name: round(value, 3) for name, value in ms.items()}))
    return engines[chosen]


def measure(engines: Mapping[str, Engine], sample: Mapping[str, Array]) -> dict[str, float]:
    """Median milliseconds of a run, measured in turns so that a busy moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(_WARM_UP_RUNS + _RUNS):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.run(sample)
            if turn >= _WARM_UP_RUNS:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def _key(specs: Sequence[EngineSpec], model: bytes, options: EngineOptions) -> str:
    """Everything that another measurement could come out differently for."""
    facts = [
        cpu_name(),
        str(usable_cores()),
        *(f"{spec.name} {version_of(spec.requires, f'{spec.requires}-gpu')}" for spec in specs),
        repr(options),
        # Hides instructions from oneDNN, and so from OpenVINO.
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        hashlib.sha256(model).hexdigest(),
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
