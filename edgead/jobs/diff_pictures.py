"""What two detectors say of the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgead_runtime import Detector, Result
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import EncoderMismatchError, PictureError
from edgead_runtime.images import read_picture

from edgead.jobs.inspection import naming
from edgead.records import FailedPicture, shown_path


@dataclass(frozen=True)
class Look:
    """What one detector says of a picture."""

    score: float
    threshold: float
    times_threshold: float
    is_anomaly: bool

    @classmethod
    def of(cls, result: Result) -> Look:
        """Of a result."""
        return cls(
            float(result.score),
            float(result.threshold),
            float(result.times_threshold),
            bool(result.is_anomaly),
        )


@dataclass(frozen=True)
class PictureChange:
    """What both say of one picture."""

    file: str
    before: Look
    after: Look

    @property
    def flips(self) -> bool:
        """Whether the verdict is another."""
        return self.before.is_anomaly != self.after.is_anomaly

    @property
    def moved(self) -> float:
        """How far the score moved, in thresholds: what can be compared between encoders."""
        return abs(self.after.times_threshold - self.before.times_threshold)


@dataclass(frozen=True)
class PicturesCompared:
    """All of them."""

    changes: tuple[PictureChange, ...]
    """Those whose verdict flips first, then those whose score moved the most."""
    failed: tuple[FailedPicture, ...]

    @property
    def flips(self) -> tuple[PictureChange, ...]:
        """Those whose verdict is another."""
        return tuple(change for change in self.changes if change.flips)

    def summary(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "inspected": len(self.changes),
            "flips": len(self.flips),
            "changes": [{**asdict(change), "flips": change.flips} for change in self.changes],
            "failed": [asdict(record) for record in self.failed],
        }


def compare_on_pictures(
    before: Path,
    after: Path,
    paths: Sequence[Path],
    *,
    encoders: Sequence[Path] = (),
    engine: str = "auto",
    threads: int | None = None,
    any_size: bool = False,
    progress: Progress = ignore_progress,
) -> PicturesCompared:
    """Inspect pictures with two detectors; both in fp32 and by exact search, in the same engine.

    Args:
        before: A detector's file.
        after: Another.
        paths: Picture files.
        encoders: Encoder bundles; each detector takes the one it was enrolled with, if that is among them.
        engine: A name or ``auto``.
        threads: Of the engine.
        any_size: Accept pictures of another size than the good ones.
        progress: Told after each picture.

    Raises:
        EncoderMismatchError: An encoder that was given is of neither.
        EdgeadError: A detector cannot be loaded.
    """
    expected = [read_bundle(path).manifest.encoder.fingerprint for path in (before, after)]
    given: dict[str, Path] = {}
    for folder in encoders:
        fingerprint = EncoderBundle.open(folder).manifest.fingerprint()
        if fingerprint not in expected:
            raise EncoderMismatchError(
                f"{folder} is the encoder of neither {before} nor {after}",
                "Give the one that a detector was enrolled with, or none.",
            )
        given[fingerprint] = folder
    loaded: dict[str, Encoder] = {}
    detectors: list[Detector] = []
    with ExitStack() as stack:
        for path, fingerprint in zip((before, after), expected, strict=True):
            detector = stack.enter_context(
                Detector.load(
                    path,
                    encoder=loaded.get(fingerprint) or given.get(fingerprint),
                    engine=engine,
                    threads=threads,
                    index="exact",
                    any_size=any_size,
                )
            )
            loaded[fingerprint] = detector.encoder
            detectors.append(detector)
        return _compare(detectors[0], detectors[1], paths, progress)


def _compare(
    before: Detector, after: Detector, paths: Sequence[Path], progress: Progress
) -> PicturesCompared:
    changes, failed = [], []
    for number, path in enumerate(paths):
        try:
            frame = read_picture(path).frame
            changes.append(PictureChange(shown_path(path), Look.of(before(frame)), Look.of(after(frame))))
        except PictureError as error:
            named = naming(path, error)
            failed.append(FailedPicture(shown_path(path), named.problem, named.remedy))
        progress("inspecting", number + 1, len(paths))
    changes.sort(key=lambda change: (not change.flips, -change.moved))
    return PicturesCompared(tuple(changes), tuple(failed))
