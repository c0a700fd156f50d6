"""One unit of an evaluation: enrol a few good pictures of an object, inspect all its test pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from edgead_runtime import Detector, Encoder, Recipe, Result, read_picture
from edgead_runtime.errors import EdgeadError, EnrollmentError, PictureError
from edgead_runtime.images import Frame
from edgead_runtime.manifest import MaskDecision
from numpy.typing import NDArray

from edgead.evaluation.datasets import Category, DatasetError, Sample, few_shot
from edgead.evaluation.datasets.sample import read_mask
from edgead.evaluation.metrics import (
    EvaluationError,
    image_auroc,
    image_average_precision,
    image_f1_max,
    image_roc_curve,
)
from edgead.evaluation.pixel_metrics import Map, Mask, pixel_metrics
from edgead.evaluation.results import Problem, ScoredPicture, UnitResult, Verdict, WorstCase
from edgead.jobs.inspection import Gallery
from edgead.records import shown_path, writable
from edgead.report.cases import case_pictures
from edgead.wording import count_of, shortened

CASES_KEPT = 3
"""False alarms, and misses, that a unit keeps with pictures."""


@dataclass(frozen=True)
class UnitTask:
    """What to run."""

    category: Category
    shots: int
    seed: int
    recipe: Recipe
    pro_limit: float
    settings: str
    """Hash of all that decides the outcome."""
    shown: Callable[[Any], str] = shown_path
    """How a picture's path is written in results."""

    def blank(self, **fields: Any) -> UnitResult:
        """A result of this unit with ``fields``."""
        return UnitResult(
            settings=self.settings,
            object=writable(self.category.name),
            shots=self.shots,
            seed=self.seed,
            train_pictures=len(self.category.train),
            **fields,
        )


@dataclass
class _Mapped:
    """A result and its truth, small enough to keep for all pictures at once: maps are made anew."""

    result: Result
    shape: tuple[int, int]
    packed: NDArray[np.uint8] | None
    """The mask, eight pixels a byte; ``None`` for good pictures."""

    def anomaly_map(self) -> Map:
        """The detector's map; the copy keeps it from staying in memory."""
        return replace(self.result).map

    def defective(self) -> Mask:
        """The truth."""
        if self.packed is None:
            return np.zeros(self.shape, dtype=bool)
        count = self.shape[0] * self.shape[1]
        return np.unpackbits(self.packed, count=count).astype(bool).reshape(self.shape)


@dataclass
class Findings:
    """What accumulates over the test pictures."""

    pictures: list[ScoredPicture] = field(default_factory=list)
    mapped: list[_Mapped] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    false_alarms: Gallery = field(default_factory=lambda: Gallery(CASES_KEPT))
    misses: Gallery = field(default_factory=lambda: Gallery(CASES_KEPT))
    times_threshold: dict[str, float] = field(default_factory=dict)
    """Score over threshold of the wrong verdicts."""
    unmarked: list[str] = field(default_factory=list)
    noted: dict[str, list[str]] = field(default_factory=dict)
    """Of how the pictures were inspected, what is worth a note; by file."""


def run_unit(
    encoder: Encoder, task: UnitTask, *, strict: bool, seen: Callable[[], None] = lambda: None
) -> UnitResult:
    """Enrol and inspect.

    Args:
        encoder: Shared by all units; not closed.
        task: What to run.
        strict: Raise at the first picture or mask that cannot be used, instead of listing it.
        seen: Called after each test picture.

    Raises:
        RecipeError: The recipe does not fit the encoder.
        PictureError: With ``strict``, a picture cannot be read.
        DatasetError: With ``strict``, a mask cannot be used or there are too few good pictures.
    """
    try:
        paths = few_shot(task.category.train, task.shots, task.seed)
        good = [read_picture(path) for path in paths]
        detector = Detector.enroll(encoder, good, recipe=task.recipe)
    except (DatasetError, PictureError, EnrollmentError) as error:
        if strict:
            raise
        return task.blank(not_run=writable(str(error)))
    detector.any_size = True
    findings = Findings()
    for sample in task.category.test:
        try:
            frame = read_picture(sample.path).frame
            result = detector(frame)
        except PictureError as error:
            if strict:
                raise
            findings.failed.append(as_problem(task.shown(sample.path), error))
        else:
            find(sample, frame, result, detector.calibration.pixel_threshold, task, findings, strict=strict)
            if result.notes:
                findings.noted[task.shown(sample.path)] = [writable(note) for note in result.notes]
        seen()
    references = [task.shown(path) for path in paths]
    remarks = _alignment_remarks(detector, findings)
    return conclude(task, findings, detector.mask, detector.threshold, references, remarks)


def _alignment_remarks(detector: Detector, findings: Findings) -> list[str]:
    """How often a recipe that aligns could not: its row may be one without any alignment."""
    tried = [reference.alignment for reference in detector.references if reference.alignment is not None]
    refused = sum(not alignment.found for alignment in tried)
    remarks = []
    if refused:
        remarks.append(
            f"{refused} of {count_of(len(tried), 'reference')} could not be aligned to the first one."
        )
    if findings.noted:
        # Each note is about one reference and one picture.
        notes = sum(map(len, findings.noted.values()))
        pairs = len(findings.pictures) * len(detector.references)
        remarks.append(f"{notes} of {pairs} alignments of a reference to a picture were refused.")
    return remarks


def find(
    sample: Sample,
    frame: Frame,
    result: Result,
    pixel_threshold: float,
    task: UnitTask,
    findings: Findings,
    *,
    strict: bool,
) -> None:
    """Add what a result says of a test picture to the findings.

    Raises:
        DatasetError: With ``strict``, its mask cannot be used.
    """
    findings.pictures.append(
        ScoredPicture(
            file=task.shown(sample.path),
            kind=sample.kind,
            anomalous=sample.is_anomalous,
            score=float(result.score),
            alarm=bool(result.is_anomaly),
        )
    )
    truth = _truth(sample, frame, task, findings, strict) if task.category.has_masks else None
    if truth is not None:
        findings.mapped.append(
            _Mapped(replace(result), truth.shape, np.packbits(truth) if truth.any() else None)
        )
    if result.is_anomaly != sample.is_anomalous:
        file = task.shown(sample.path)
        findings.times_threshold[file] = _times_threshold(result)
        gallery = findings.false_alarms if result.is_anomaly else findings.misses
        badness = findings.times_threshold[file] * (1 if result.is_anomaly else -1)
        if gallery.wants(badness):
            gallery.add(file, badness, case_pictures(frame, result, pixel_threshold, truth))


def _truth(sample: Sample, frame: Frame, task: UnitTask, findings: Findings, strict: bool) -> Mask | None:
    """The mask of a picture; ``None`` where nobody knows it, and the picture stays out of pixel metrics."""
    size = (frame.shape[0], frame.shape[1])
    if not sample.is_anomalous:
        return np.zeros(size, dtype=bool)
    if sample.mask_path is None:
        findings.unmarked.append(task.shown(sample.path))
        return None
    try:
        truth = read_mask(sample.mask_path, sample.path, size)
    except DatasetError as error:
        if strict:
            raise
        findings.failed.append(as_problem(task.shown(sample.mask_path), error))
        return None
    if truth.any():
        return truth
    findings.unmarked.append(task.shown(sample.path))
    return None


def conclude(
    task: UnitTask,
    findings: Findings,
    mask: MaskDecision,
    threshold: float,
    references: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> UnitResult:
    """From what was found in the test pictures to metrics.

    Args:
        task: What was run.
        findings: Of all test pictures.
        mask: Whether they were masked.
        threshold: Scores above it were alarms.
        references: The good pictures, as shown.
        remarks: What else a reader must know.
    """
    metrics: dict[str, float] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    undefined = list(remarks)
    scores = [picture.score for picture in findings.pictures]
    truth = [picture.anomalous for picture in findings.pictures]
    try:
        metrics["image_auroc"] = image_auroc(scores, truth)
        metrics["image_ap"] = image_average_precision(scores, truth)
        metrics["image_f1_max"] = image_f1_max(scores, truth)
        fpr, tpr = image_roc_curve(scores, truth)
        curves["image_roc"] = list(zip(fpr.tolist(), tpr.tolist(), strict=True))
    except EvaluationError as error:
        undefined.append(f"Image metrics: {error.problem}.")
    if not task.category.has_masks:
        undefined.append("Pixel metrics: there are no masks.")
    else:
        try:
            pixels = pixel_metrics(findings.mapped, task.pro_limit)
            metrics["pixel_auroc"] = pixels.auroc
            metrics["pixel_ap"] = pixels.average_precision
            metrics["pixel_f1_max"] = pixels.f1_max
            metrics["pro"] = pixels.pro
            curves["pixel_roc"] = pixels.roc.sampled()
            curves["pro"] = pixels.overlap.sampled()
        except EvaluationError as error:
            undefined.append(f"Pixel metrics: {error.problem}.")
        if findings.unmarked:
            undefined.append(
                f"{count_of(len(findings.unmarked), 'defective picture')} without a marked defect (no mask, "
                f"or a black one) counted for the image metrics only: {shortened(findings.unmarked)}."
            )
    return task.blank(
        references=list(references),
        masked=mask.enabled,
        mask_reason=mask.reason,
        threshold=float(threshold),
        metrics=metrics,
        undefined=undefined,
        curves=curves,
        pictures=findings.pictures,
        failed=findings.failed,
        worst=_worst(findings),
    )


def _worst(findings: Findings) -> list[WorstCase]:
    galleries: tuple[tuple[Verdict, Gallery], ...] = (
        ("false alarm", findings.false_alarms),
        ("miss", findings.misses),
    )
    kinds = {picture.file: picture.kind for picture in findings.pictures}
    return [
        WorstCase(
            file=file,
            what=what,
            kind=kinds[file],
            times_threshold=findings.times_threshold[file],
            original_jpeg=pictures.original,
            overlay_jpeg=pictures.overlay,
        )
        for what, gallery in galleries
        for file, pictures in gallery.by_file().items()
    ]


def _times_threshold(result: Result) -> float:
    return float(result.score) / max(float(result.threshold), float(np.finfo(np.float32).tiny))


def as_problem(file: str, error: EdgeadError) -> Problem:
    """An error as a result keeps it."""
    return Problem(file=file, problem=writable(error.problem), remedy=writable(error.remedy))
