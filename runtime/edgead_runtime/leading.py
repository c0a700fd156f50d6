"""A detector with others of the same part beside it, that learn what it learns."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.detector import Detector
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.images import Frame, Picture
from edgead_runtime.manifest import Calibration, CascadeRecord, TierBank, TierRecord, Tuning
from edgead_runtime.persistence import record_references, refer_to
from edgead_runtime.tuning import StoredTuning, in_proportion, this_machine


@dataclass(frozen=True, eq=False)
class Companion:
    """The same part enrolled with another encoder."""

    detector: Detector
    scale: float
    """See :class:`edgead_runtime.manifest.TierBank`."""
    map_scale: float

    @property
    def fingerprint(self) -> str:
        """Of its encoder."""
        return self.detector.encoder.fingerprint

    def follow_threshold(self, full: Calibration) -> None:
        """Set the thresholds in proportion to those of the full setting."""
        detector = self.detector
        with detector._lock:
            detector._change(
                calibration=in_proportion(detector.calibration, full, self.scale, self.map_scale)
            )

    def to_bank(self) -> tuple[TierBank, dict[str, NDArray[np.generic]]]:
        """Its record, and the arrays that it names. The pictures are those of the detector's own records."""
        detector = self.detector
        records, arrays = record_references(
            detector.references, detector.recipe, prefix=f"tiers/{self.fingerprint[:12]}/"
        )
        bank = TierBank(
            encoder=refer_to(detector.encoder, detector.recipe, embedded=False),
            mask=detector.mask,
            calibration=detector.calibration,
            references=records,
            coreset=list(detector._state.memory.coreset),
            scale=self.scale,
            map_scale=self.map_scale,
        )
        return bank, arrays


class LeadingDetector(Detector):
    """The full setting of a part, and others of the same part that learn what it learns.

    Everything that a person asks of it (:attr:`threshold`, :attr:`references`, :meth:`explain`, ...) is
    answered by the full setting. What answers a frame is for subclasses to say.

    It takes over what the full one owned, and the others: closing it closes them.
    """

    def __init__(
        self,
        full: Detector,
        others: Sequence[Detector],
        scales: Mapping[str, tuple[float, float]],
        tuning: StoredTuning | None = None,
    ) -> None:
        """Put detectors together.

        Args:
            full: The full setting.
            others: Of the same part. Those with the encoder of another (whatever its engine or precision)
                share its bank.
            scales: For each other encoder, by fingerprint, its ``scale`` and ``map_scale``.
            tuning: What goes into the file with it.
        """
        super().__init__(
            full._pipeline,
            full._state.memory,
            full._state.calibration,
            owns_encoder=full._owns_encoder,
            any_size=full.any_size,
            index=full.index,
        )
        self._learning = threading.RLock()
        self._tuning = tuning
        self._others = tuple(others)
        self._companions: dict[str, Companion] = {}
        self._scales = dict(scales)
        for other in others:
            other.any_size = True  # the leader has looked at the size already
        self._choose_companions()
        self._tell()

    def _choose_companions(self) -> None:
        """The first of each other encoder learns for all of that encoder."""
        self._companions = {}
        for other in self._others:
            name = other.encoder.fingerprint
            if name != self.encoder.fingerprint and name not in self._companions:
                self._companions[name] = Companion(other, *self._scales[name])
        for companion in self._companions.values():
            companion.detector.bank_limit = self.bank_limit

    def _do_without(self, useless: Detector) -> None:
        """Close one of the others. What the file says of it stays in it."""
        self._others = tuple(other for other in self._others if other is not useless)
        self._choose_companions()
        useless.close()

    def _tell(self) -> None:
        """Let everyone know what the first of its encoder knows."""
        for other in self._others:
            companion = self._companions.get(other.encoder.fingerprint)
            leader = self if companion is None else companion.detector
            if leader is not other:
                other._follow(leader)
        with self._lock:
            # Whoever saw this state while only some had learned must notice that now all have.
            self._state = dataclasses.replace(self._state)

    @contextlib.contextmanager
    def _by_all_or_none(self) -> Iterator[None]:
        """Learn in every bank; where one refuses, all are what they were before, to the object.

        Taking back is not enough for that: a coreset that was thinned for a part stays thinned without it.
        """
        with self._learning:
            detectors = [self, *(companion.detector for companion in self._companions.values())]
            before = [(detector, detector._state) for detector in detectors]
            try:
                yield
            except BaseException:
                for detector, state in before:
                    with detector._lock:
                        detector._state = state
                raise
            finally:
                self._tell()

    def add_good(self, frame: Picture | Frame, name: str | None = None) -> str:
        """Add a good part to every bank, or to none; see :meth:`Detector.add_good`."""
        # A part that only some settings know would be good or not by the load.
        with self._by_all_or_none():
            name = super().add_good(frame, name)
            for companion in self._companions.values():
                companion.detector.add_good(frame, name)
        return name

    @property
    def bank_limit(self) -> int | None:
        """See :attr:`Detector.bank_limit`; the same for every bank, so that all of them are bounded."""
        return self._bank_limit

    @bank_limit.setter
    def bank_limit(self, most: int | None) -> None:
        self._bank_limit = most
        for companion in self._companions.values():
            companion.detector.bank_limit = most

    def undo(self, name: str | None = None) -> str:
        """Take a good part out of every bank, or of none; see :meth:`Detector.undo`."""
        with self._by_all_or_none():
            taken = super().undo(name)
            for companion in self._companions.values():
                companion.detector.undo(name)
        return taken

    def recalibrate(
        self,
        calibration_good: Sequence[Picture | Frame] = (),
        *,
        false_alarm_rate: float | None = None,
        progress: Progress = ignore_progress,
    ) -> Calibration:
        """Choose the thresholds of every setting again, or of none; see :meth:`Detector.recalibrate`."""
        options: dict[str, Any] = {"false_alarm_rate": false_alarm_rate, "progress": progress}
        with self._by_all_or_none():
            calibration = super().recalibrate(calibration_good, **options)
            for companion in self._companions.values():
                companion.detector.recalibrate(calibration_good, **options)
        return calibration

    def set_threshold(self, threshold: float) -> None:
        """Set the image threshold of the full setting; those of the others follow in proportion."""
        with self._by_all_or_none():
            super().set_threshold(threshold)
            for companion in self._companions.values():
                companion.follow_threshold(self.calibration)

    def restore_calibration(self, calibration: Calibration) -> None:
        """Go back to thresholds of the full setting; those of the others follow in proportion."""
        with self._by_all_or_none():
            super().restore_calibration(calibration)
            for companion in self._companions.values():
                companion.follow_threshold(self.calibration)

    def _tuning_to_save(self) -> StoredTuning | None:
        stored = self._tuning
        if stored is None:
            return None
        banks: list[TierBank] = []
        arrays, encoders = dict(stored.arrays), dict(stored.encoders)
        for bank in stored.record.banks:
            companion = self._companions.get(bank.encoder.fingerprint)
            if companion is not None:
                made, tokens = companion.to_bank()
                banks.append(made)
                arrays.update(tokens)
                encoders[companion.fingerprint] = companion.detector.encoder.bundle
            elif self.calibration == stored.record.calibration:
                banks.append(bank)
            else:  # a setting that this machine cannot run
                followed = in_proportion(bank.calibration, self.calibration, bank.scale, bank.map_scale)
                banks.append(msgspec.structs.replace(bank, calibration=followed))
        record = msgspec.structs.replace(stored.record, banks=banks, calibration=self.calibration)
        return StoredTuning(record, arrays, encoders)

    def close(self) -> None:
        """Release every encoder that came with it."""
        super().close()
        for other in self._others:
            other.close()


def store_tuning(
    full: Detector,
    companions: Sequence[Companion],
    *,
    budget_ms: float,
    tiers: Sequence[TierRecord],
    chosen: int,
    cascade: CascadeRecord | None = None,
) -> None:
    """Give a detector what :meth:`Detector.save` will keep for a budget; what it had is replaced.

    Args:
        full: The detector.
        companions: Those that ``tiers`` and ``cascade`` name as banks, in their order.
        budget_ms: The budget.
        tiers: The settings, the full one first.
        chosen: Which of them holds the budget.
        cascade: A small look first, where there is one.
    """
    banks, arrays = [], {}
    for companion in companions:
        bank, tokens = companion.to_bank()
        banks.append(bank)
        arrays.update(tokens)
    record = Tuning(
        budget_ms=budget_ms,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=this_machine(),
        calibration=full.calibration,
        tiers=list(tiers),
        chosen=chosen,
        banks=banks,
        cascade=cascade,
    )
    encoders = {each.fingerprint: each.detector.encoder.bundle for each in companions}
    full._tuning = StoredTuning(record, arrays, encoders)
