"""From units to the rows of a table: means and spreads over seeds, published numbers beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgead.evaluation.comparability import (
    RunFacts,
    joined,
    why_mean_not_comparable,
    why_object_not_comparable,
    why_run_not_comparable,
)
from edgead.evaluation.published import (
    OBJECTS,
    PRO_LIMIT,
    RESOLUTIONS,
    Published,
    published_mean,
    published_object,
)
from edgead.evaluation.results import METRICS, UnitResult

MEAN = "mean"


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds, as shares from 0 to 1."""

    mean: float
    deviation: float | None
    """Standard deviation of the sample (n - 1); ``None`` with one seed."""
    seeds: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Spread:
        """Of one value a seed; at least one."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class Comparison:
    """Published numbers for a row."""

    percent: dict[str, float]
    """By the names of the metrics."""
    not_comparable: tuple[str, ...]
    """Why they say nothing of ours; empty where they may stand side by side."""


@dataclass(frozen=True)
class Row:
    """One object, or the mean over the objects, at one number of shots."""

    object: str
    shots: int
    metrics: dict[str, Spread]
    units: tuple[UnitResult, ...]
    """Those that were run."""
    published: Comparison | None = None

    @property
    def masked(self) -> str:
        """In how many units the masking test found the part."""
        return f"{sum(unit.masked for unit in self.units)} of {len(self.units)}"

    @property
    def false_alarms(self) -> str:
        """At the detectors' own thresholds, over all units."""
        return f"{sum(u.false_alarms for u in self.units)} of {sum(u.good for u in self.units)}"

    @property
    def missed(self) -> str:
        """At the detectors' own thresholds, over all units."""
        return f"{sum(u.missed for u in self.units)} of {sum(u.defective for u in self.units)}"


@dataclass(frozen=True)
class Summary:
    """An evaluation as its tables show it."""

    units: tuple[UnitResult, ...]
    rows: tuple[Row, ...]
    """By object, then shots."""
    means: tuple[Row, ...]
    """Over all objects, by shots; none where there is one object."""
    facts: RunFacts
    remarks: tuple[str, ...] = field(default=())
    """What a reader of the tables must know."""

    @property
    def pictures(self) -> int:
        """Inspections that were made."""
        return sum(len(unit.pictures) for unit in self.units)

    @property
    def why_not_comparable(self) -> tuple[str, ...]:
        """What in the settings keeps the rows from standing beside published ones."""
        return why_run_not_comparable(self.facts, {row.shots for row in self.rows})

    @property
    def incomplete(self) -> bool:
        """Whether units were not run, or pictures or masks could not be used."""
        return any(unit.not_run or unit.failed for unit in self.units)


def summarize(units: Sequence[UnitResult], facts: RunFacts) -> Summary:
    """Gather units into rows.

    Args:
        units: In the order they were run.
        facts: What they have in common.
    """
    objects = list(dict.fromkeys(unit.object for unit in units))
    shots = list(dict.fromkeys(unit.shots for unit in units))
    rows = [
        _object_row([unit for unit in units if unit.object == name and unit.shots == count], facts)
        for name in objects
        for count in shots
    ]
    means = (
        [_mean_row([row for row in rows if row.shots == count], count, units, facts) for count in shots]
        if len(objects) > 1
        else []
    )
    return Summary(tuple(units), tuple(rows), tuple(means), facts, _remarks(units))


def _object_row(units: Sequence[UnitResult], facts: RunFacts) -> Row:
    done = [unit for unit in units if not unit.not_run]
    first = units[0]
    found = published_object(facts.dataset, first.object, first.shots)
    reasons = why_object_not_comparable(facts, units) if found else ()
    return Row(
        object=first.object,
        shots=first.shots,
        metrics={
            name: Spread.over(values)
            for name, _ in METRICS
            if (values := [unit.metrics[name] for unit in done if name in unit.metrics])
        },
        units=tuple(done),
        published=_comparison(found, facts, first.shots, reasons),
    )


def _mean_row(rows: Sequence[Row], shots: int, units: Sequence[UnitResult], facts: RunFacts) -> Row:
    """The mean over the objects of each seed, then mean and spread over the seeds."""
    by_object = {
        row.object: [u for u in units if u.object == row.object and u.shots == shots] for row in rows
    }
    metrics = {}
    for name, _ in METRICS:
        having = [row for row in rows if name in row.metrics]
        by_seed: dict[int, list[float]] = {}
        for row in having:
            for unit in row.units:
                if name in unit.metrics:
                    by_seed.setdefault(unit.seed, []).append(unit.metrics[name])
        # A seed that lacks an object would be a mean over something else.
        whole = [statistics.fmean(values) for values in by_seed.values() if len(values) == len(rows)]
        if whole:
            metrics[name] = Spread.over(whole)
    # Of objects that the data set does not have, its mean says nothing at all.
    known = any(name in OBJECTS.get(facts.dataset, {}) for name in by_object)
    found = published_mean(facts.dataset, facts.resolution, shots) if known else None
    reasons = why_mean_not_comparable(facts, by_object) if found else ()
    done = tuple(unit for row in rows for unit in row.units)
    return Row(MEAN, shots, metrics, done, _comparison(found, facts, shots, reasons))


def _comparison(
    found: tuple[Published, int] | None, facts: RunFacts, shots: int, reasons: tuple[str, ...]
) -> Comparison | None:
    if found is None:
        return None
    numbers, taken_at = found
    percent = numbers.by_metric()
    if facts.pro_limit != PRO_LIMIT:
        percent.pop("pro", None)
    all_reasons = [*why_run_not_comparable(facts, (shots,)), *reasons]
    if facts.resolution in RESOLUTIONS and taken_at != facts.resolution:
        all_reasons.append(f"published at {taken_at} px")
    return Comparison(percent, tuple(all_reasons))


def _remarks(units: Sequence[UnitResult]) -> tuple[str, ...]:
    """What happened, each thing once, with the units it happened in."""
    happened: dict[tuple[str, str], list[UnitResult]] = {}
    for unit in units:
        for text in [*unit.undefined, *([f"Not run: {unit.not_run}"] if unit.not_run else [])]:
            happened.setdefault((unit.object, text), []).append(unit)
    remarks = []
    for (name, text), where in happened.items():
        every = len(where) == sum(unit.object == name for unit in units)
        runs = "every run" if every else joined(f"{unit.shots}-shot seed {unit.seed}" for unit in where)
        remarks.append(f"{name} ({runs}): {text}")
    return tuple(remarks)


def why_rows_not_comparable(summary: Summary) -> list[str]:
    """What sets rows apart from the published ones beyond the settings of the run, each once."""
    of_the_run = summary.why_not_comparable
    reasons = [
        f"{row.object}: {reason}"
        for row in (*summary.rows, *summary.means)
        if row.published
        for reason in row.published.not_comparable
        if reason not in of_the_run
    ]
    return list(dict.fromkeys(reasons))


def failures(units: Sequence[UnitResult]) -> list[tuple[str, str, str]]:
    """File, problem and remedy of all that could not be used, each once."""
    return list(
        dict.fromkeys((each.file, each.problem, each.remedy) for unit in units for each in unit.failed)
    )
