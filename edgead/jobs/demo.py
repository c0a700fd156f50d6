"""The main job on real pictures: export, enrol, detect, and how well it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgead_export.downloads import fetch_wheel
from edgead_export.export import ExportOptions, export_encoder
from edgead_export.resolution import parse_resolution
from edgead_runtime import Detector, Encoder, EncoderBundle, get_recipe
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import BundleError, OutputError
from edgead_runtime.files import sha256_file, write_atomic

from edgead import demo_data
from edgead.jobs.detect import Detection, ReportExtras, detect_pictures
from edgead.jobs.enroll import EnrollmentPlan, default_sheet, enroll_part, good_pictures
from edgead.report.html import Section

BACKBONE = "dinov2_s"
RECIPE = "anomalydino-informed"
"""Without rotations: cells are mounted and photographed in one orientation, so a turned copy of a good
cell is nothing that will ever be seen; it would only make the bank eight times larger."""
ABOUT = "ABOUT-THE-PICTURES.txt"
"""Says whose pictures these are; a folder that has it is a demo's."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoOptions:
    """What the demo can be told."""

    folder: Path
    resolution: int = 448
    weights: str = "auto"
    threads: int | None = None
    show_downloads: bool = True


@dataclass(frozen=True)
class EnrolledCells:
    """The demo's pictures, and a detector of good cells."""

    pictures: demo_data.DemoPictures
    plan: EnrollmentPlan
    detector: Detector


@dataclass(frozen=True)
class DemoOutcome:
    """What the demo leaves behind."""

    plan: EnrollmentPlan
    detector: Detector
    detection: Detection


def run_demo(
    options: DemoOptions,
    *,
    step: Say,
    warn: Say,
    progress: Progress = ignore_progress,
) -> DemoOutcome:
    """Run the whole demo in its own folder.

    Args:
        options: Where and how.
        step: Told what begins.
        warn: Told what a person must know.
        progress: Told how far enrolment and detection are.

    Raises:
        EdgeadError: Weights or pictures cannot be reached, or the folder is not a demo's.
    """
    with enrolled_cells(options, step=step, warn=warn, progress=progress) as cells:
        plan, detector, pictures = cells.plan, cells.detector, cells.pictures
        labels = {
            **dict.fromkeys(good_pictures(pictures.good), False),
            **dict.fromkeys(good_pictures(pictures.defective), True),
        }
        step(f"inspecting {len(labels)} cells")
        detection = detect_pictures(
            detector,
            plan.out.name,
            sha256_file(plan.out),
            list(labels),
            options.folder / "results",
            report_limit=len(labels),
            overwrite=True,
            extras=ReportExtras(
                title="Demo: defects in solar cells",
                labels=labels,
                sections=(
                    Section("How the pictures were chosen", (demo_data.RULE,)),
                    Section("Whose pictures these are", (demo_data.LICENCE, *pictures.citations)),
                ),
            ),
            progress=progress,
        )
    return DemoOutcome(plan, detector, detection)


@contextmanager
def enrolled_cells(
    options: DemoOptions, *, step: Say, warn: Say, progress: Progress = ignore_progress
) -> Iterator[EnrolledCells]:
    """Get pictures and encoder, and enrol the good cells; the detector works until this ends.

    Args:
        options: Where and how.
        step: Told what begins.
        warn: Told what a person must know.
        progress: Told how far enrolment is.

    Raises:
        EdgeadError: Weights or pictures cannot be reached, or the folder is not a demo's.
    """
    folder = options.folder
    _claim(folder)
    step("pictures of solar cells")
    wheel = fetch_wheel(
        demo_data.WHEEL, demo_data.WHEEL_VERSION, demo_data.WHEEL_SHA256, options.show_downloads
    )
    pictures = demo_data.unpack_pictures(wheel, folder)
    about = (demo_data.LICENCE, *pictures.citations, demo_data.RULE)
    write_atomic(folder / ABOUT, ("\n\n".join(about) + "\n").encode())

    with Encoder.load(_encoder(options, step, warn), threads=options.threads) as encoder:
        plan = EnrollmentPlan(
            good=good_pictures(pictures.references),
            out=folder / "cells.edgead",
            sheet=default_sheet(folder / "cells.edgead"),
            recipe=get_recipe(RECIPE),
        )
        step(f"enrolling {len(plan.good)} good cells")
        yield EnrolledCells(pictures, plan, enroll_part(encoder, plan, progress))


def _claim(folder: Path) -> None:
    """Make the folder the demo's, unless it is somebody else's."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, and the demo needs a folder", "Give another name after -o.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT).is_file():
        raise OutputError(f"{folder} holds files that are not the demo's", "Give another name after -o.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / ABOUT, (demo_data.LICENCE + "\n").encode())


def _encoder(options: DemoOptions, step: Say, warn: Say) -> EncoderBundle:
    """The bundle of an earlier demo if it is what is asked for, else a new one."""
    path = options.folder / "encoder"
    with suppress(BundleError):
        bundle = EncoderBundle.open(path)
        bundle.read_model()
        if _is_what_is_asked_for(bundle, options):
            return bundle
    step("exporting the encoder")
    export_encoder(
        ExportOptions(
            backbone=BACKBONE,
            out=path,
            resolution=str(options.resolution),
            weights=options.weights,
            overwrite=True,
            progress=options.show_downloads,
        ),
        stage=step,
        note=warn,
    )
    return EncoderBundle.open(path)


def _is_what_is_asked_for(bundle: EncoderBundle, options: DemoOptions) -> bool:
    manifest = bundle.manifest
    if manifest.backbone != BACKBONE:
        return False
    # Rounded to whole patches, as the export rounds it.
    resolution = parse_resolution(str(options.resolution), manifest.patch_size)
    wanted = resolution.height, resolution.width
    if (manifest.input.height, manifest.input.width) != wanted:
        return False
    if options.weights in {"hub", "standin"}:
        return manifest.weights.source.startswith(options.weights)
    if options.weights == "auto":
        # A stand-in is kept too: looking for better weights each time would need the network each time.
        return not manifest.weights.source.startswith("file:")
    file = Path(options.weights).expanduser()
    return file.is_file() and manifest.weights.sha256 == sha256_file(file)
