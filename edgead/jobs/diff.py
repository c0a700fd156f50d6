"""What differs between two detector files: everything that decides a result, and what does not beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from edgead_runtime.detector_bundle import LoadedBundle, read_bundle
from edgead_runtime.manifest import Calibration, CoresetRecord, ReferenceRecord, Tuning
from edgead_runtime.recipe import recipe_from_dict
from edgead_runtime.tuning import arrays_of

PROVENANCE = "provenance"
_NAMING = ("name", "summary", "source")
_THRESHOLDS = (
    ("image", "threshold"),
    ("pixel", "pixel_threshold"),
    ("from", "method"),
    ("good pictures behind it", "pictures"),
    ("false-alarm rate", "false_alarm_rate"),
)


@dataclass(frozen=True)
class Change:
    """One thing that differs."""

    part: str
    """``encoder``, ``recipe``, ``mask``, ``thresholds``, ``bank``, ``coreset``, ``tuning``; or
    ``provenance``, which decides no result."""
    what: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ReferenceLine:
    """A good picture that only one of the two has."""

    name: str
    digest: str
    added: str
    """``enrollment`` or ``add_good``."""
    patches: int
    """That are kept of it, in the last layer; 0 of a subspace."""


@dataclass(frozen=True)
class Difference:
    """Two detector files compared."""

    before: Path
    after: Path
    changes: tuple[Change, ...]
    added: tuple[ReferenceLine, ...]
    removed: tuple[ReferenceLine, ...]
    references: tuple[int, int]
    """How many there are."""
    patches: tuple[int, int]
    """In the bank, of the last layer."""

    @property
    def decisive(self) -> tuple[Change, ...]:
        """Changes that may change a result."""
        return tuple(change for change in self.changes if change.part != PROVENANCE)

    @property
    def is_same(self) -> bool:
        """Whether both give the same results; their dates may differ."""
        return not (self.decisive or self.added or self.removed)

    def summary(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "before": str(self.before),
            "after": str(self.after),
            "same": self.is_same,
            "changes": [asdict(change) for change in self.changes],
            "references": {
                "before": self.references[0],
                "after": self.references[1],
                "added": [asdict(line) for line in self.added],
                "removed": [asdict(line) for line in self.removed],
            },
            "patches": {"before": self.patches[0], "after": self.patches[1]},
        }


def compare_detectors(before: Path, after: Path) -> Difference:
    """Compare two files by what they hold; nothing is run, and no encoder is needed.

    Raises:
        BundleError: One is missing, damaged or not a detector.
        SchemaVersionError: A newer edgead wrote it.
        RecipeError: Its recipe is none.
    """
    one, two = read_bundle(before), read_bundle(after)
    changes = [
        *_encoder(one, two),
        *_fields("recipe", _recipe(one), _recipe(two)),
        *_fields("mask", _mask(one), _mask(two)),
        *_thresholds(one.manifest.calibration, two.manifest.calibration),
        *_common_references(one, two),
        *_coreset(one.manifest.coreset, two.manifest.coreset),
        *_fields("tuning", _tuning(one.manifest.tuning), _tuning(two.manifest.tuning)),
        *_fields(PROVENANCE, _provenance(one), _provenance(two)),
    ]
    return Difference(
        before=before,
        after=after,
        changes=tuple(changes),
        added=_only_in(two, one),
        removed=_only_in(one, two),
        references=(len(one.manifest.references), len(two.manifest.references)),
        patches=(_patches(one), _patches(two)),
    )


def _fields(part: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield Change(part, name, before.get(name), after.get(name))


def _encoder(one: LoadedBundle, two: LoadedBundle) -> Iterator[Change]:
    def facts(bundle: LoadedBundle) -> dict[str, Any]:
        encoder = bundle.manifest.encoder
        return {
            "fingerprint": encoder.fingerprint,
            "backbone": encoder.backbone,
            "layers": encoder.layers,
            "weights": encoder.weights.source,
            "official weights": encoder.weights.official,
        }

    return _fields("encoder", facts(one), facts(two))


def _recipe(bundle: LoadedBundle) -> dict[str, Any]:
    """What it chooses; an older file lacks fields that have defaults now."""
    return {name: value for name, value in _whole_recipe(bundle).items() if name not in _NAMING}


def _whole_recipe(bundle: LoadedBundle) -> dict[str, Any]:
    return asdict(recipe_from_dict(bundle.manifest.recipe))


def _mask(bundle: LoadedBundle) -> dict[str, Any]:
    decided = bundle.manifest.mask
    area = decided.area
    return {
        "enabled": decided.enabled,
        "requested": decided.requested,
        "threshold": decided.threshold,
        "area": None if area is None else f"{sum(row.count('#') for row in area)} patches: {'/'.join(area)}",
    }


def _thresholds(before: Calibration, after: Calibration) -> Iterator[Change]:
    for what, field in _THRESHOLDS:
        was, now = getattr(before, field), getattr(after, field)
        if was != now:
            yield Change("thresholds", what, was, now)


def _common_references(one: LoadedBundle, two: LoadedBundle) -> Iterator[Change]:
    """What differs of good pictures that both have."""
    after = {record.digest: record for record in two.manifest.references}
    # With another encoder or recipe everything that is kept of a picture is other, and that need not be said.
    comparable = (one.manifest.encoder.fingerprint, _recipe(one)) == (
        two.manifest.encoder.fingerprint,
        _recipe(two),
    )
    for record in one.manifest.references:
        other = after.get(record.digest)
        if other is None:
            continue
        if record.name != other.name:
            yield Change(PROVENANCE, "name of a good picture", record.name, other.name)
        if record.added != other.added:
            yield Change(PROVENANCE, f"{other.name} came in by", record.added, other.added)
        kept = _kept(one, record), _kept(two, other)
        if comparable and kept[0] != kept[1]:
            yield Change("bank", f"patches kept of {other.name}", *kept)
        elif comparable and not _same_arrays(one, record, two, other):
            yield Change("bank", f"features of {other.name}", "as they were", "others")
    shared = [record.digest for record in one.manifest.references if record.digest in after]
    if shared != [record.digest for record in two.manifest.references if record.digest in set(shared)]:
        yield Change("bank", "order of the good pictures", "as it was", "another")


def _same_arrays(
    one: LoadedBundle, record: ReferenceRecord, two: LoadedBundle, other: ReferenceRecord
) -> bool:
    names, others = list(arrays_of(record)), list(arrays_of(other))
    return len(names) == len(others) and all(
        name in one.arrays and theirs in two.arrays and np.array_equal(one.arrays[name], two.arrays[theirs])
        for name, theirs in zip(names, others, strict=True)
    )


def _kept(bundle: LoadedBundle, record: ReferenceRecord) -> int:
    """Patches of the last layer."""
    return (
        len(bundle.arrays[record.tokens[-1]]) if record.tokens and record.tokens[-1] in bundle.arrays else 0
    )


def _patches(bundle: LoadedBundle) -> int:
    return sum(_kept(bundle, record) for record in bundle.manifest.references)


def _only_in(bundle: LoadedBundle, other: LoadedBundle) -> tuple[ReferenceLine, ...]:
    known = {record.digest for record in other.manifest.references}
    return tuple(
        ReferenceLine(record.name, record.digest, record.added, _kept(bundle, record))
        for record in bundle.manifest.references
        if record.digest not in known
    )


def _coreset(before: Sequence[CoresetRecord], after: Sequence[CoresetRecord]) -> Iterator[Change]:
    for layer in range(max(len(before), len(after))):
        was, now = (each[layer] if layer < len(each) else None for each in (before, after))
        which = "" if max(len(before), len(after)) == 1 else f", layer {layer + 1} of the recipe's"
        for what, field in (("radius", "radius"), ("patches that it stands for", "rows")):
            pair = [None if each is None else getattr(each, field) for each in (was, now)]
            if pair[0] != pair[1]:
                yield Change("coreset", what + which, *pair)


def _tuning(tuning: Tuning | None) -> dict[str, Any]:
    """What it decides; when and where it was measured is provenance."""
    if tuning is None:
        return {}
    found: dict[str, Any] = {
        "budget in ms": tuning.budget_ms,
        "chosen setting": tuning.tiers[tuning.chosen].name,
        "settings": [tier.name for tier in tuning.tiers],
        "other encoders": [bank.encoder.fingerprint for bank in tuning.banks],
        "their thresholds": [bank.calibration.threshold for bank in tuning.banks],
    }
    if tuning.cascade is not None:
        found["cascade"] = [tuning.cascade.first.name, tuning.cascade.low, tuning.cascade.high]
    return found


def _provenance(bundle: LoadedBundle) -> dict[str, Any]:
    manifest = bundle.manifest
    tuning = manifest.tuning
    return {
        **{f"recipe's {name}": _whole_recipe(bundle)[name] for name in _NAMING},
        "created": manifest.created,
        "written by edgead-runtime": manifest.runtime_version,
        "schema version": manifest.schema_version,
        "encoder inside": manifest.encoder.embedded,
        "encoder was at": manifest.encoder.path_hint,
        "why it is masked so": manifest.mask.reason,
        "tuned at": None if tuning is None else tuning.created,
        "tuned on": None if tuning is None else msgspec.to_builtins(tuning.machine),
    }
