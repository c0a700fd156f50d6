"""How an inspection went on pictures whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgead.evaluation.metrics import image_auroc
from edgead.records import InspectedPicture
from edgead.wording import count_of


@dataclass(frozen=True)
class LabelledOutcome:
    """Ranking, misses and false alarms."""

    auroc: float
    good: int
    defective: int
    false_alarms: int
    missed: int

    def sentences(self) -> tuple[str, str]:
        """The outcome in plain words."""
        found = self.defective - self.missed
        return (
            f"Image AUROC {self.auroc:.3f}: the chance that a defective picture scores higher than a good "
            "one (0.5 is guessing, 1 is perfect).",
            f"At the threshold {found} of {count_of(self.defective, 'defective picture')} are found and "
            f"{self.missed} missed, with {count_of(self.false_alarms, 'false alarm')} on "
            f"{count_of(self.good, 'good picture')}.",
        )


def judge(inspected: Sequence[InspectedPicture], defective: Mapping[str, bool]) -> LabelledOutcome:
    """Compare verdicts with the truth.

    Args:
        inspected: The pictures; those without a label are left out.
        defective: The truth by file.

    Raises:
        EvaluationError: Only one of the two kinds is there.
    """
    known = [record for record in inspected if record.file in defective]
    truth = [defective[record.file] for record in known]
    alarms = [record.is_anomaly for record in known]
    return LabelledOutcome(
        auroc=image_auroc([record.score for record in known], truth),
        good=truth.count(False),
        defective=truth.count(True),
        false_alarms=sum(alarm and not bad for alarm, bad in zip(alarms, truth, strict=True)),
        missed=sum(bad and not alarm for alarm, bad in zip(alarms, truth, strict=True)),
    )
