"""The settings in reach on this machine: encoders, engines and precisions, each a detector of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from edgead_runtime import Detector, Encoder, EncoderBundle, Picture
from edgead_runtime.engines import ENGINES, PINNED, EngineOptions, EnginePrecision
from edgead_runtime.enrollment import Progress
from edgead_runtime.errors import EdgeadError, EngineUnavailableError, PrecisionMissingError
from edgead_runtime.leading import Companion
from edgead_runtime.pipeline import Pipeline
from edgead_runtime.siblings import check_sibling, enroll_like

from edgead.wording import count_of

_PRECISIONS: tuple[EnginePrecision, ...] = ("fp32", "bf16", "int8")
"""What a processor can be faster in; fp16 and fp8 are for GPUs."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A detector as one of its settings runs it."""

    detector: Detector
    engine: str
    """As it is asked for."""
    precision: EnginePrecision
    companion: Companion | None = None
    """The bank that it shares, where the encoder is another one than the detector's own."""

    @property
    def is_own(self) -> bool:
        """Whether the encoder is the detector's own."""
        return self.companion is None

    @property
    def input_wh(self) -> tuple[int, int]:
        """Size of the encoder's input (width, height)."""
        entry = self.detector.encoder.manifest.input
        return entry.width, entry.height

    @property
    def name(self) -> str:
        """``448 x 448, openvino, bf16``."""
        return f"{self.input_wh[0]} x {self.input_wh[1]}, {self.engine}, {self.precision}"


def engine_names(asked: Sequence[str]) -> tuple[str, ...]:
    """The engines to try: those asked for, else the one that ``auto`` is pinned to, else all installed.

    Raises:
        EngineUnavailableError: One is unknown, or none is installed.
    """
    pinned = os.environ.get(PINNED)
    names = tuple(dict.fromkeys(asked)) or ((pinned,) if pinned else tuple(ENGINES))
    for name in names:
        if name not in ENGINES:
            raise EngineUnavailableError(f"unknown engine '{name}'", f"Choose of: {', '.join(ENGINES)}.")
    installed = tuple(name for name in names if find_spec(ENGINES[name].requires) is not None)
    if not installed:
        raise EngineUnavailableError(
            f"none of these engines is installed: {', '.join(names)}",
            "Install one: " + "; ".join(ENGINES[name].install for name in names) + ".",
        )
    return installed


def open_others(own: Detector, source: Path, folders: Sequence[Path]) -> list[EncoderBundle]:
    """The other encoders, each checked before anything is encoded.

    Args:
        own: The detector.
        source: Its file, for messages.
        folders: Encoder bundles. The detector's own among them is passed over.

    Raises:
        EdgeadError: One cannot stand beside the detector's own, is larger, or is there twice.
    """
    manifest = own.encoder.manifest
    pixels = manifest.input.width * manifest.input.height
    found: dict[str, EncoderBundle] = {}
    for folder in folders:
        bundle = EncoderBundle.open(folder)
        fingerprint = bundle.manifest.fingerprint()
        if fingerprint == own.encoder.fingerprint:
            continue
        if fingerprint in found:
            raise EdgeadError(f"{folder} is the same encoder as {found[fingerprint].source}", "Give it once.")
        check_sibling(manifest, bundle.manifest, own.layers, str(folder))
        entry = bundle.manifest.input
        if entry.width * entry.height >= pixels:
            raise EdgeadError(
                f"{folder} ({entry.width} x {entry.height}) is no smaller than the encoder of {source} "
                f"({manifest.input.width} x {manifest.input.height})",
                "Enrol with the largest encoder, and give smaller ones here.",
            )
        found[fingerprint] = bundle
    return list(found.values())


def load_settings(
    path: Path,
    own_fingerprint: str,
    folders: Sequence[Path],
    engines: Sequence[str],
    threads: int | None,
    calibration_good: Sequence[Picture],
    opened: contextlib.ExitStack,
    progress: Progress,
) -> tuple[list[Setting], list[str]]:
    """Load every setting that this machine can run.

    Args:
        path: The detector's file.
        own_fingerprint: Of its encoder.
        folders: Bundles of other encoders; the detector's own may be among them.
        engines: From :func:`engine_names`.
        threads: Of every engine.
        calibration_good: Held-out pictures of the enrolment.
        opened: Closes what was loaded.
        progress: Told of the stages of enrolling with other encoders.

    Returns:
        The settings, those of the detector's own encoder first; and what could not be had, in sentences.

    Raises:
        EdgeadError: An encoder cannot stand beside the detector's own, or no engine runs it in fp32.
    """
    asked: list[tuple[str, EnginePrecision]] = [
        (name, precision)
        for precision in _PRECISIONS
        for name in engines
        if ENGINES[name].fits(EngineOptions(precision=precision))
    ]
    if not asked or asked[0][1] != "fp32":
        raise EngineUnavailableError(
            f"the full setting is fp32 on the processor, which {', '.join(engines)} cannot run",
            "Name another engine with --engine.",
        )
    first, *rest = asked
    own_folder = _own_among(own_fingerprint, folders)
    own = opened.enter_context(
        Detector.load(
            path, encoder=own_folder, engine=first[0], precision=first[1], threads=threads, any_size=True
        )
    )
    others = open_others(own, path, folders)
    found = [Setting(own, *first)]
    missing = []

    def add(base: Setting, bundle: EncoderBundle, engine: str, precision: EnginePrecision) -> None:
        try:
            found.append(_beside(base, bundle, engine, precision, threads, opened))
        except PrecisionMissingError:
            return  # nobody exported it, so nobody misses it
        except EdgeadError as error:  # no such precision on this machine, or it did not pass its gate
            name = f"{base.input_wh[0]} x {base.input_wh[1]}, {engine}, {precision}"
            missing.append(f"{name} is not to be had here: {error.problem}.")

    for run in rest:
        add(found[0], own.encoder.bundle, *run)
    runs = [(setting.engine, setting.precision) for setting in found[1:]]
    for number, bundle in enumerate(others):
        named = _Named(
            progress, f" ({number + 1} of {count_of(len(others), 'encoder')})" if len(others) > 1 else ""
        )
        encoder = opened.enter_context(
            Encoder.load(bundle, engine=first[0], precision=first[1], threads=threads)
        )
        companion = enroll_like(own, encoder, calibration_good, named)
        base = Setting(companion.detector, *first, companion)
        found.append(base)
        for run in runs:
            add(base, bundle, *run)
    return found, missing


@dataclass(frozen=True)
class _Named:
    """Progress whose stages say which encoder they are of."""

    progress: Progress
    suffix: str

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.progress(stage + self.suffix, done, total)


def _own_among(fingerprint: str, folders: Sequence[Path]) -> Path | None:
    """The detector's own encoder, where it was given with the others."""
    for folder in folders:
        if EncoderBundle.open(folder).manifest.fingerprint() == fingerprint:
            return folder
    return None


def _beside(
    base: Setting,
    bundle: EncoderBundle,
    engine: str,
    precision: EnginePrecision,
    threads: int | None,
    opened: contextlib.ExitStack,
) -> Setting:
    """The same bank and thresholds in another engine or precision."""
    encoder = opened.enter_context(Encoder.load(bundle, engine=engine, precision=precision, threads=threads))
    known = base.detector
    pipeline = Pipeline(encoder, known.recipe, known.mask)
    detector = Detector(pipeline, known._state.memory, known.calibration, any_size=True)
    return replace(base, detector=detector, engine=engine, precision=precision)
