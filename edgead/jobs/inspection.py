"""Running a detector over pictures and keeping what a report needs."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgead_runtime import Detector, Result
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import PictureError
from edgead_runtime.explanation import Explanation
from edgead_runtime.images import Frame, encode_jpeg, read_picture

from edgead.records import (
    OVERLAYS,
    ExplainedRegion,
    FailedPicture,
    InspectedPicture,
    PictureRecord,
    shown_path,
)
from edgead.report.html import THUMBNAIL_PX, Thumbnails
from edgead.report.overlay import draw_overlay, fit_longest_side
from edgead.report.side_by_side import side_by_side

EXPLAINED_REGIONS = 3
"""Of each picture, the strongest first."""
_STEM_CHARACTERS = 40


@dataclass
class Gallery:
    """Thumbnails of the highest-scoring pictures, so that memory does not grow with the folder."""

    limit: int
    _heap: list[tuple[float, int, str, Thumbnails]] = field(default_factory=list)
    _added: int = 0

    def wants(self, score: float) -> bool:
        """Whether a picture of this score would be kept."""
        return self.limit > 0 and (len(self._heap) < self.limit or score > self._heap[0][0])

    def add(self, file: str, score: float, thumbnails: Thumbnails) -> None:
        """Keep a picture; the lowest-scoring one goes when there are too many."""
        self._added += 1
        entry = (score, self._added, file, thumbnails)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def by_file(self) -> dict[str, Thumbnails]:
        """The thumbnails that were kept."""
        return {file: thumbnails for _, _, file, thumbnails in self._heap}


def inspect_pictures(
    detector: Detector,
    paths: Sequence[Path],
    folder: Path,
    *,
    gallery: Gallery,
    strict: bool = False,
    explain: bool = False,
    progress: Progress = ignore_progress,
) -> list[PictureRecord]:
    """Inspect pictures one by one and write their overlays.

    Args:
        detector: What looks at them.
        paths: Picture files.
        folder: Existing folder; overlays go to its :data:`OVERLAYS`.
        gallery: Collects thumbnails.
        strict: Raise at the first picture that cannot be inspected instead of recording it.
        explain: Show the strongest regions beside what comes nearest in the good pictures.
        progress: Told after each picture.

    Returns:
        A record a picture, in the order of ``paths``.

    Raises:
        PictureError: With ``strict``, a picture cannot be inspected.
        OSError: An overlay cannot be written.
    """
    (folder / OVERLAYS).mkdir()
    records: list[PictureRecord] = []
    for index, path in enumerate(paths):
        overlay = f"{OVERLAYS}/{overlay_name(index, path)}"
        try:
            records.append(_inspect(detector, path, folder, overlay, gallery, explain=explain))
        except PictureError as error:
            if strict:
                raise naming(path, error) from error
            records.append(FailedPicture(shown_path(path), error.problem, error.remedy))
        progress("inspecting", index + 1, len(paths))
    return records


def overlay_name(index: int, path: Path) -> str:
    """A file name of its own for each picture, also for equal names in different folders."""
    stem = "".join(character if character.isalnum() or character in "-_." else "_" for character in path.stem)
    return f"{index + 1:05d}-{stem[:_STEM_CHARACTERS]}.jpg"


def _inspect(
    detector: Detector, path: Path, folder: Path, overlay: str, gallery: Gallery, *, explain: bool
) -> InspectedPicture:
    frame = read_picture(path).frame
    result, reasons = detector.explain(frame, EXPLAINED_REGIONS) if explain else (detector(frame), ())
    return record_result(path, frame, result, folder, overlay, gallery, reasons)


def record_result(
    path: Path,
    frame: Frame,
    result: Result,
    folder: Path,
    overlay: str,
    gallery: Gallery,
    reasons: Sequence[Explanation] = (),
) -> InspectedPicture:
    """Write the overlay of an inspected picture and offer it to the gallery.

    Args:
        path: Its file.
        frame: ``[H, W, 3]`` uint8, BGR.
        result: What was found in it.
        folder: The results.
        overlay: Where in it the overlay goes.
        gallery: Collects thumbnails.
        reasons: Why its strongest regions are red, where that was asked for.

    Raises:
        OSError: The overlay cannot be written.
    """
    painted = draw_overlay(frame, result.map, result.pixel_threshold, result.regions)
    (folder / overlay).write_bytes(encode_jpeg(painted))
    record = InspectedPicture(
        file=shown_path(path),
        width=frame.shape[1],
        height=frame.shape[0],
        score=float(result.score),
        threshold=float(result.threshold),
        is_anomaly=bool(result.is_anomaly),
        regions=result.regions,
        timings_ms=result.timings_ms,
        overlay=overlay,
        notes=result.notes,
        degraded=result.degraded,
        explanations=tuple(
            ExplainedRegion(
                patch=reason.patch,
                distance=reason.distance,
                reference=reason.reference,
                view=reason.view,
                reference_patch=reason.reference_patch,
            )
            for reason in reasons
        ),
    )
    rank = result.times_threshold  # scores of two settings are not in one unit
    if gallery.wants(rank):
        pairs = tuple(side_by_side(frame, reason, result.pixel_threshold) for reason in reasons)
        gallery.add(record.file, rank, Thumbnails(_thumbnail(frame), _thumbnail(painted), pairs))
    return record


def naming(path: Path, error: PictureError) -> PictureError:
    """The error with the picture's path in it, where it speaks of a frame only."""
    if path.name in error.problem:
        return error
    return type(error)(f"{shown_path(path)}: {error.problem}", error.remedy)


def _thumbnail(frame: Frame) -> bytes:
    return encode_jpeg(fit_longest_side(frame, 1, THUMBNAIL_PX), quality=85)
