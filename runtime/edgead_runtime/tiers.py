"""Loading a detector with its faster settings: those that a tuning names, or what there is without one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgead_runtime.budget import check_budget
from edgead_runtime.cascade import Band, CascadeDetector, LookThresholds
from edgead_runtime.detector import Detector
from edgead_runtime.detector_bundle import LoadedBundle
from edgead_runtime.encoder import Encoder
from edgead_runtime.errors import (
    BundleError,
    EdgeadError,
    EncoderMismatchError,
    EncoderNotFoundError,
    EngineUnavailableError,
    IndexUnavailableError,
    PrecisionMissingError,
)
from edgead_runtime.leading import Companion
from edgead_runtime.manifest import CascadeRecord, TierRecord, Tuning
from edgead_runtime.tiered import TieredDetector
from edgead_runtime.tuning import StoredTuning, bank_view, check_options, this_machine

_NOT_HERE = (
    EngineUnavailableError,
    EncoderNotFoundError,
    EncoderMismatchError,
    IndexUnavailableError,
    PrecisionMissingError,
)
"""What one machine lacks and another may have: no reason not to run the settings that are left."""
_CHOSEN_BY_TUNING = {"engine": "auto", "precision": "fp32", "threads": None}
"""Arguments that a tuned setting brings along, and what they are where nobody asked for one."""
_TUNE = "Run `edgead tune` on this machine."


def load_several(
    path: Path,
    bundle: LoadedBundle,
    encoder: Encoder | str | Path | None,
    options: Mapping[str, Any],
    *,
    budget_ms: float | None,
    cascade: bool,
) -> Detector:
    """A detector that keeps to a budget, or one that looks twice; see :meth:`Detector.load`.

    Args:
        path: The file.
        bundle: What it holds.
        encoder: Of the full setting.
        options: Arguments of :meth:`Detector.load`; a tuning adds what it says of a setting.
        budget_ms: The budget.
        cascade: Look with the small encoder first.

    Raises:
        EdgeadError: Both are asked for, the budget makes no sense, the file has no cascade, or an option is
            asked for that its tuned settings have of their own.
    """
    if budget_ms is not None and cascade:
        raise EdgeadError(
            "a cascade's worst frame takes both looks, so it keeps to no budget", "Give one of the two."
        )
    if bundle.manifest.tuning is not None:
        check_not_overridden(path, bundle.manifest.tuning, options, cascade=cascade)
    loading = _Loading(path, bundle, encoder, options)
    with contextlib.ExitStack() as opened:
        if budget_ms is None:
            detector: Detector = _load_cascade(loading, opened)
        else:
            check_budget(budget_ms)
            detector = _load_tiers(loading, budget_ms, opened)
        opened.pop_all()
    return detector


def check_not_overridden(path: Path, tuning: Tuning, options: Mapping[str, Any], *, cascade: bool) -> None:
    """Refuse options that what was tuned would silently go before.

    Args:
        path: The detector's file, to name it.
        tuning: What ``edgead tune`` stored in it.
        options: ``engine``, ``precision`` and ``threads``, as given to :meth:`Detector.load`.
        cascade: Whether the cascade's settings are used, instead of the tiers.

    Raises:
        EdgeadError: One of them is not the default, and a setting has another.
    """
    used = [tuning.tiers[0], *([tuning.cascade.first] if tuning.cascade else [])] if cascade else tuning.tiers
    for name, default in _CHOSEN_BY_TUNING.items():
        asked = options[name]
        others = sorted({str(tier.options[name]) for tier in used if tier.options.get(name, asked) != asked})
        if asked != default and others:
            raise EdgeadError(
                f"{path} was tuned, and its settings have a {name} of their own ({', '.join(others)}), so "
                f"{name} {asked} would not be used",
                f"Leave {name} out, or tune again with what you want; without a budget and a cascade it is "
                "used.",
            )


class _Loading:
    """One file, and how its settings are loaded."""

    def __init__(
        self,
        path: Path,
        bundle: LoadedBundle,
        encoder: Encoder | str | Path | None,
        options: Mapping[str, Any],
    ) -> None:
        self.path, self.bundle, self.options = path, bundle, options
        self.encoder = encoder
        self.tuning: Tuning | None = bundle.manifest.tuning
        self._up_to_date: set[int] = set()

    def full(self, record: TierRecord | None, opened: contextlib.ExitStack) -> tuple[Detector, list[str]]:
        """The full setting, as it was tuned where this machine can."""
        remarks: list[str] = []
        # An encoder that is shared is in its engine already.
        if record is not None and not isinstance(self.encoder, Encoder):
            try:
                return opened.enter_context(self._load(self.bundle, self.encoder, record.options)), remarks
            except (EngineUnavailableError, IndexUnavailableError, PrecisionMissingError) as error:
                remarks.append(_left_out(record, error))
        return opened.enter_context(self._load(self.bundle, self.encoder, {})), remarks

    def view(self, record: TierRecord) -> LoadedBundle:
        """The file as a setting sees it.

        Raises:
            BundleError: The file contradicts itself.
        """
        if record.bank is None or self.tuning is None:
            return self.bundle
        return bank_view(self.bundle, self.tuning.banks[record.bank], self.path)

    def another(
        self, record: TierRecord, view: LoadedBundle, full: Detector, opened: contextlib.ExitStack
    ) -> Detector:
        """A setting beside the full one, which knows the same good parts.

        Args:
            record: The setting.
            view: The file as it sees it.
            full: The full setting.
            opened: Closes it.

        Raises:
            EdgeadError: This machine lacks what it needs, or its encoder is damaged.
        """
        encoder = None
        if record.bank is None:
            encoder = self.encoder.bundle.root if isinstance(self.encoder, Encoder) else self.encoder
        with contextlib.ExitStack() as closed_on_failure:
            detector = closed_on_failure.enter_context(self._load(view, encoder, record.options))
            if record.bank is not None and record.bank not in self._up_to_date:
                # Whoever shares the bank is told by whoever leads them.
                self._bring_up(detector, full)
                self._up_to_date.add(record.bank)
            opened.push(closed_on_failure.pop_all())
        return detector

    def _load(
        self, bundle: LoadedBundle, encoder: Encoder | str | Path | None, changed: Mapping[str, Any]
    ) -> Detector:
        check_options(changed)
        return Detector._from_bundle(self.path, bundle, encoder=encoder, **{**self.options, **changed})

    def _bring_up(self, detector: Detector, full: Detector) -> None:
        """Learn what the full setting learned since the tuning."""
        detector.any_size = True
        pairs = zip(detector.references, full.references, strict=False)
        alike = 0
        for one, two in pairs:
            if one.digest != two.digest:
                break
            alike += 1
        # In their order: taking back the last one must take back the same part everywhere.
        while len(detector.references) > alike:
            detector.undo()
        for reference in full.references[alike:]:
            detector.add_good(reference.picture, reference.picture.name)

    def companion(self, record: TierRecord, detector: Detector, full: Detector) -> Companion:
        """A setting with a bank of its own, its threshold as it should be now."""
        if record.bank is None or self.tuning is None:
            raise ValueError("this setting has no bank of its own")
        bank = self.tuning.banks[record.bank]
        companion = Companion(detector, bank.scale, bank.map_scale)
        if full.calibration != self.tuning.calibration:
            companion.follow_threshold(full.calibration)
        return companion


def _load_cascade(loading: _Loading, opened: contextlib.ExitStack) -> CascadeDetector:
    tuning = loading.tuning
    if tuning is None or tuning.cascade is None:
        raise BundleError(
            f"{loading.path} has no small encoder to look first",
            "Run `edgead tune` with --encoder and a smaller export.",
        )
    full, _ = loading.full(tuning.tiers[0], opened)
    first = tuning.cascade.first
    small = loading.companion(first, loading.another(first, loading.view(first), full, opened), full)
    band = Band(tuning.cascade.low, tuning.cascade.high)
    return CascadeDetector(
        full, small, band, StoredTuning.of(loading.bundle), _thresholds_of(tuning, tuning.cascade)
    )


def _thresholds_of(tuning: Tuning, cascade: CascadeRecord) -> LookThresholds:
    """Those that the band was found at."""
    full, small = cascade.full_threshold, cascade.small_threshold
    if full is None or small is None or cascade.first.bank is None:
        full = tuning.calibration.threshold
        bank = None if cascade.first.bank is None else tuning.banks[cascade.first.bank]
        small = full if bank is None else bank.calibration.threshold
    return LookThresholds(full, small)


def _load_tiers(loading: _Loading, budget_ms: float, opened: contextlib.ExitStack) -> TieredDetector:
    tuning = loading.tuning
    records = _untuned(loading) if tuning is None else tuning.tiers
    full, remarks = loading.full(records[0], opened)
    kept: list[tuple[TierRecord, Detector]] = []
    for record in records[1:]:
        view = loading.view(record)
        try:
            detector = loading.another(record, view, full, opened)
        except (*_NOT_HERE, BundleError) as error:  # an encoder that is damaged, too
            if tuning is not None:
                remarks.append(_left_out(record, error))
            continue
        if record.bank is not None:
            loading.companion(record, detector, full)
        kept.append((record, detector))
    start = None
    if tuning is None:
        remarks.append(
            "It was not tuned: without other encoders there is "
            + ("bfloat16 as the only faster setting. " if kept else "no faster setting. ")
            + _TUNE
        )
    elif tuning.machine != this_machine():
        remarks.append(
            f"It was tuned on another machine ({tuning.machine.cpu}, {tuning.machine.cores} cores): the "
            f"settings were timed here when they were loaded. {_TUNE}"
        )
    elif not remarks:
        start = _holding(tuning, budget_ms)
    scales = {
        bank.encoder.fingerprint: (bank.scale, bank.map_scale)
        for bank in ([] if tuning is None else tuning.banks)
    }
    return TieredDetector(
        full,
        [detector for _, detector in kept],
        budget_ms,
        scales=scales,
        tuning=StoredTuning.of(loading.bundle),
        start=start,
        remarks=remarks,
    )


def _holding(tuning: Tuning, budget_ms: float) -> int:
    """What was chosen for this budget; for another the most faithful that held it here, else the fastest."""
    if budget_ms == tuning.budget_ms:
        return tuning.chosen
    for number, tier in enumerate(tuning.tiers):
        if tier.measured is not None and tier.measured.p99_ms <= budget_ms:
            return number
    return len(tuning.tiers) - 1


def _untuned(loading: _Loading) -> list[TierRecord]:
    """What can be had from the detector's own encoder."""
    records = [TierRecord(name="full", options={})]
    if loading.options["precision"] == "fp32":
        records.append(TierRecord(name="bf16", options={"precision": "bf16"}))
    return records


def _left_out(record: TierRecord, error: EdgeadError) -> str:
    return f"The setting '{record.name}' is left out here: {error.problem}."
