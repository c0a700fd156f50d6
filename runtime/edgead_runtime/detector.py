"""The detector: one object, one call per frame."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from edgead_runtime.bank import Reference
from edgead_runtime.blocked_bank import BlockedBank
from edgead_runtime.calibration import by_hand, check_rate, check_threshold
from edgead_runtime.detector_bundle import LoadedBundle, read_bundle
from edgead_runtime.device_frames import DeviceFrame
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import Device
from edgead_runtime.enrollment import (
    Progress,
    calibrate_memory,
    check_distinct,
    decide_mask,
    encode_as_taken,
    fill_memory,
    ignore_progress,
)
from edgead_runtime.errors import (
    BundleError,
    EdgeadError,
    FrameSizeError,
    PictureError,
    RecipeError,
)
from edgead_runtime.explanation import Explanation, check_explainable, explain
from edgead_runtime.fused import bank_for, inspect_fused
from edgead_runtime.images import TO_THE_HOST, Frame, Picture, as_pictures, check_frame, frame_digest
from edgead_runtime.index import AUTO, EXACT, check_index
from edgead_runtime.index_choice import IndexChoice, choose_index
from edgead_runtime.manifest import Calibration, CoresetRecord, MaskDecision, Precision, Tuning
from edgead_runtime.memory import Memory
from edgead_runtime.notes import enrollment_notes
from edgead_runtime.persistence import (
    check_encoder,
    load_coreset,
    load_references,
    locate_encoder,
    save_detector,
)
from edgead_runtime.pipeline import Inspection, Pipeline, inspect
from edgead_runtime.presets import find_recipe
from edgead_runtime.recipe import Recipe, recipe_from_dict
from edgead_runtime.result import Result
from edgead_runtime.taking_back import as_if_never_added, place_of_added
from edgead_runtime.tensorrt.on_device import is_on_device
from edgead_runtime.tuning import StoredTuning


@dataclass(frozen=True)
class _State:
    """What may change while a detector runs; replaced as a whole, so a call sees one or the other."""

    memory: Memory
    calibration: Calibration
    bank: BlockedBank | None
    """The memory as the frame graph searches it, where the method goes that way."""

    @classmethod
    def of(cls, memory: Memory, calibration: Calibration, bank: BlockedBank | None) -> _State:
        """With the bank's own references, so that their patches are in memory once."""
        return cls(memory if bank is None else memory.of(bank.references), calibration, bank)


_SEARCHED_EXACTLY = IndexChoice(EXACT, "as enrolled")


class Detector:
    """Finds what good pictures do not have.

    Safe for calls from several threads: a call reads the state once, and :meth:`add_good`, :meth:`undo`
    and :meth:`recalibrate` replace it as a whole. A context manager; closing releases the encoder only if
    the detector loaded it.

    Example:
        >>> detector = Detector.load("part.edgead")          # doctest: +SKIP
        >>> result = detector(frame_bgr)                     # doctest: +SKIP
        >>> result.is_anomaly, result.score, result.regions  # doctest: +SKIP
    """

    def __init__(
        self,
        pipeline: Pipeline,
        memory: Memory,
        calibration: Calibration,
        *,
        owns_encoder: bool = False,
        any_size: bool = False,
        index: IndexChoice = _SEARCHED_EXACTLY,
    ) -> None:
        self._pipeline = pipeline
        self._state = _State.of(memory, calibration, bank_for(pipeline, memory))
        self.index = index
        """How the bank is searched, and why."""
        self._lock = threading.Lock()
        self._owns_encoder = owns_encoder
        self._loaded_by: Callable[[], Detector] | None = None
        self._tuning: StoredTuning | None = None
        self.any_size = any_size
        """Accept frames of another size than the references."""
        self._bank_limit: int | None = None
        self.provenance = pipeline.provenance

    # -- making one ------------------------------------------------------------------------------------

    @classmethod
    def enroll(
        cls,
        encoder: Encoder | str | Path,
        good: Sequence[Picture | Frame],
        *,
        recipe: Recipe | str = "anomalydino",
        calibration_good: Sequence[Picture | Frame] = (),
        false_alarm_rate: float | None = None,
        threshold: float | None = None,
        progress: Progress = ignore_progress,
    ) -> Detector:
        """Make a detector from good pictures.

        Args:
            encoder: A loaded encoder (shared, not closed by the detector) or a bundle folder.
            good: At least one picture or frame of a good part.
            recipe: The method, the name of a preset, or the path of a TOML file.
            calibration_good: Good pictures that set the threshold and stay out of the bank.
            false_alarm_rate: The rate not to exceed; ``None``: the lowest that the pictures can support.
            threshold: Image threshold set by hand instead; the pixel threshold is calibrated all the same.
            progress: Called with (stage, done, total).

        Raises:
            EnrollmentError: No pictures, or a rate that so few pictures cannot support.
            PictureError: A frame is not a uint8 BGR image.
            RecipeError: The recipe does not fit the encoder.
            BundleError: The encoder bundle is missing or damaged.
        """
        pictures = as_pictures(good, "reference")
        held_out = as_pictures(calibration_good, "held-out")
        chosen = find_recipe(recipe) if isinstance(recipe, str) else recipe
        if threshold is not None:
            check_threshold(threshold)  # all of this before minutes of encoding
        if pictures:
            check_rate(len(held_out) or len(pictures), false_alarm_rate, held_out=bool(held_out))
        check_distinct([(picture.name, frame_digest(picture.frame)) for picture in (*pictures, *held_out)])
        owned = not isinstance(encoder, Encoder)
        loaded = encoder if isinstance(encoder, Encoder) else Encoder.load(encoder)
        with _closed_on_failure(loaded if owned else None):
            as_taken = encode_as_taken(loaded, chosen, pictures, progress)
            height, width = pictures[0].frame.shape[:2]
            pipeline = Pipeline(loaded, chosen, decide_mask(loaded, chosen, as_taken, (height, width)))
            memory = fill_memory(pipeline, pictures, as_taken, progress)
            calibration = calibrate_memory(pipeline, memory, held_out, false_alarm_rate, progress)
        # Never a subclass: those are made of several detectors, and come from `load`.
        detector = Detector(pipeline, memory.condensed, calibration, owns_encoder=owned)
        if threshold is not None:
            detector.set_threshold(threshold)
        return detector

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | str | Path | None = None,
        engine: str = "auto",
        device: Device | None = None,
        threads: int | None = None,
        precision: Precision = "fp32",
        fused: bool = True,
        index: str = AUTO,
        any_size: bool = False,
        foreground_only: bool = True,
        budget_ms: float | None = None,
        cascade: bool = False,
        rebuild: bool = False,
    ) -> Detector:
        """Load a ``.edgead`` file.

        Args:
            path: The file.
            encoder: A loaded encoder (to share one between detectors) or a bundle folder; by default the
                embedded one, else the folder it was enrolled with.
            engine: See :meth:`Encoder.load`.
            device: See :meth:`Encoder.load`.
            threads: See :meth:`Encoder.load`.
            precision: See :meth:`Encoder.load`.
            fused: See :meth:`Encoder.load`.
            index: How the bank is searched: ``exact``, ``engine`` (exact too, in the encoder's own engine
                instead of NumPy), a name of :data:`edgead_runtime.index.INDEXES`, or ``auto`` for what
                measures fastest here without changing image scores. With an approximate one a frame goes by
                the stages.
            any_size: Accept frames of another size than the references.
            foreground_only: Search for the patches inside the mask alone, where the recipe deletes others.
            budget_ms: What a frame may take at p99: the detector takes a faster setting while it must, see
                :class:`edgead_runtime.tiered.TieredDetector`. ``None``: the full setting, however long.
            cascade: Look with the small encoder that ``edgead tune`` stored first, and with the full one
                where that leaves a doubt, see :class:`edgead_runtime.cascade.CascadeDetector`.
            rebuild: See :meth:`Encoder.load`.

        Raises:
            BundleError: The file is missing, damaged or not a detector; or ``cascade`` and it has none.
            SchemaVersionError: A newer edgead wrote it.
            EncoderNotFoundError: Its encoder is neither embedded nor where it was.
            EncoderMismatchError: The encoder given is another one.
            EngineUnavailableError: No engine for that device is installed.
            IndexUnavailableError: The index is unknown, not installed, or not what the recipe asks for.
            EdgeadError: The budget is not a finite number above 0, or given with ``cascade``; or engine,
                precision or threads are given for a budget or cascade whose tuned settings have others.
        """
        path = Path(path)
        check_index(index)
        options: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "threads": threads,
            "precision": precision,
            "fused": fused,
            "index": index,
            "any_size": any_size,
            "foreground_only": foreground_only,
            "rebuild": rebuild,
        }
        bundle = read_bundle(path)
        if budget_ms is not None or cascade:
            from edgead_runtime.tiers import load_several  # which needs this module

            detector = load_several(path, bundle, encoder, options, budget_ms=budget_ms, cascade=cascade)
        else:
            detector = cls._from_bundle(path, bundle, encoder=encoder, **options)
            detector._tuning = StoredTuning.of(bundle)
        folder = detector.encoder.bundle.root if isinstance(encoder, Encoder) else encoder
        detector._loaded_by = functools.partial(
            Detector.load,
            path.resolve(),
            encoder=None if folder is None else Path(folder).resolve(),
            budget_ms=budget_ms,
            cascade=cascade,
            **options,
        )
        return detector

    @classmethod
    def _from_bundle(
        cls,
        path: Path,
        bundle: LoadedBundle,
        *,
        encoder: Encoder | str | Path | None = None,
        engine: str = "auto",
        device: Device = "cpu",
        threads: int | None = None,
        precision: Precision = "fp32",
        fused: bool = True,
        index: str = AUTO,
        any_size: bool = False,
        foreground_only: bool = True,
        rebuild: bool = False,
    ) -> Detector:
        """What a bundle says, in an engine; the arguments are those of :meth:`load`."""
        owned = not isinstance(encoder, Encoder)
        if isinstance(encoder, Encoder):
            check_encoder(path, bundle.manifest.encoder, encoder.fingerprint, encoder.bundle.source)
            loaded = encoder
        else:
            opened = locate_encoder(path, bundle) if encoder is None else EncoderBundle.open(encoder)
            check_encoder(path, bundle.manifest.encoder, opened.manifest.fingerprint(), opened.source)
            loaded = Encoder.load(
                opened,
                engine=engine,
                device=device,
                threads=threads,
                precision=precision,
                fused=fused,
                rebuild=rebuild,
            )
        with _closed_on_failure(loaded if owned else None):
            recipe = _recipe_of(bundle.manifest.recipe, path)
            pipeline = Pipeline(loaded, recipe, bundle.manifest.mask, foreground_only)
            references = load_references(bundle, loaded, recipe, path)
            memory = Memory(references, recipe, load_coreset(bundle, references, path))
            memory, choice = choose_index(pipeline, memory, index, threads)
            return Detector(
                pipeline,
                memory,
                bundle.manifest.calibration,
                owns_encoder=owned,
                any_size=any_size,
                index=choice,
            )

    def __reduce__(self) -> tuple[Callable[[], Detector], tuple[()]]:
        """Pickle by path: another process loads the file again.

        Raises:
            EdgeadError: It was not loaded from a file, or was changed since.
        """
        if self._loaded_by is None:
            raise EdgeadError(
                "a detector that is not as it was loaded cannot be sent to another process",
                "Save it, load it there, or send one that was loaded from the file.",
            )
        return self._loaded_by, ()

    def save(self, path: str | Path, *, self_contained: bool = False) -> None:
        """Write the detector to one file; an existing one is replaced only once the new one is whole.

        Args:
            path: Usually ``NAME.edgead``.
            self_contained: Put the encoder inside (its size is added).

        Raises:
            OutputError: The file cannot be written.
        """
        state = self._state
        save_detector(
            Path(path),
            self._pipeline,
            state.memory,
            state.calibration,
            self_contained=self_contained,
            tuning=self._tuning_to_save(),
        )

    def _tuning_to_save(self) -> StoredTuning | None:
        return self._tuning

    # -- running ---------------------------------------------------------------------------------------

    def __call__(self, frame: Frame) -> Result:
        """Inspect one frame.

        Args:
            frame: ``[H, W, 3]`` uint8, BGR. On a GPU engine also an array that is on the GPU already (of
                CuPy, torch and others), where it has the size of the encoder's input and the method goes by
                the frame graph: it is taken as it lies, see :meth:`Encoder.adopt`.

        Returns:
            Score and verdict; map and regions on first access.

        Raises:
            PictureError: It is not such an array, or lies on a GPU where this detector cannot take it.
            FrameSizeError: Its size differs from that of all references and ``any_size`` is off; or it is on
                the GPU and of another size than the encoder's input.
        """
        if is_on_device(frame):
            return self._inspect_on_device(frame)
        check_frame(frame)
        self.check_frame_size(frame)
        state = self._state
        if state.bank is None:
            return self._inspect(frame, state).result
        return inspect_fused(self._pipeline, frame, state.bank, state.calibration)

    def _inspect_on_device(self, frame: Any) -> Result:
        state = self._state
        if state.bank is None:
            raise PictureError(
                "the frame is on a GPU, and this detector goes by the stages, which begin on the host",
                f"{TO_THE_HOST}; docs/design.md says which recipes go by the frame graph.",
            )
        adopted = self.encoder.adopt(frame)
        self.check_frame_size(adopted)
        return inspect_fused(self._pipeline, adopted, state.bank, state.calibration)

    def _inspect(self, frame: Frame, state: _State) -> Inspection:
        """By the stages, keeping what they made."""
        return inspect(self._pipeline, frame, state.memory, state.calibration)

    def explain(self, frame: Frame, limit: int = 3) -> tuple[Result, tuple[Explanation, ...]]:
        """Inspect one frame and say, for its strongest regions, which good patch comes nearest.

        Args:
            frame: ``[H, W, 3]`` uint8, BGR.
            limit: How many regions.

        Raises:
            RecipeError: The recipe remembers no single patches.
            PictureError: The frame is not such an array.
            FrameSizeError: Its size differs from that of all references and ``any_size`` is off.
        """
        check_explainable(self.recipe)
        check_frame(frame)
        self.check_frame_size(frame)
        inspection = self._inspect(frame, self._state)
        return inspection.result, explain(self._pipeline, inspection, frame, limit)

    def check_frame_size(self, frame: Frame | DeviceFrame) -> None:
        """Refuse a frame of another size than the references, where those are all of one size.

        Raises:
            FrameSizeError: It is, and ``any_size`` is off.
        """
        sizes = {reference.frame_hw for reference in self._state.memory.references}
        size = (frame.shape[0], frame.shape[1])
        if self.any_size or len(sizes) != 1 or size in sizes:
            return
        ((height, width),) = sizes
        raise FrameSizeError(
            f"the frame is {size[1]} x {size[0]} pixels, the good pictures are {width} x {height}",
            "Use the camera settings of enrolment, or allow any size (--any-size, any_size=True).",
        )

    # -- learning --------------------------------------------------------------------------------------

    def add_good(self, frame: Picture | Frame, name: str | None = None) -> str:
        """Add a good part to the bank; the next call knows it. Nothing is rebuilt.

        The thresholds stay as they are; :meth:`recalibrate` renews them.

        Args:
            frame: A picture or frame of the size of the others.
            name: What to call it; by default the picture's name or a running number.

        Returns:
            The name it has in the bank.

        Raises:
            PictureError: It is not a uint8 BGR image.
            FrameSizeError: It has another size than the references and ``any_size`` is off.
            EnrollmentError: The same picture is in the bank already, or the bank is full
                (:attr:`bank_limit`).
        """
        picture = as_pictures([frame], "added")[0]
        self.check_frame_size(picture.frame)
        if name is None:
            name = picture.name if isinstance(frame, Picture) else f"added-{datetime.now():%Y%m%d-%H%M%S-%f}"
        self._check_new(name, frame_digest(picture.frame))
        as_taken = self._pipeline.encode(picture.frame)
        fixed = self._pipeline.landmarks_to_align_to(self.references[0])
        reference = self._pipeline.embed(picture, as_taken, fixed, added_later=True)
        with self._lock:
            self._check_new(name, reference.digest)  # another thread may have been faster
            name = _unused(name, {known.picture.name for known in self.references})
            reference = replace(reference, picture=reference.picture.renamed(name))
            self._change(memory=self._state.memory.adding(reference, self.bank_limit))
        return name

    @property
    def bank_limit(self) -> int | None:
        """Patches of a layer that :meth:`add_good` may fill the bank to, in every setting of it.

        A coreset is thinned to stay below, any other bank refuses more. ``None``: as many as memory holds.
        """
        return self._bank_limit

    @bank_limit.setter
    def bank_limit(self, most: int | None) -> None:
        self._bank_limit = most

    def _check_new(self, name: str, digest: str) -> None:
        known = [(reference.picture.name, reference.digest) for reference in self._state.memory.references]
        check_distinct([*known, (name, digest)])

    def _change(self, **changes: Any) -> None:
        """Replace the state; the file it was loaded from no longer says what it is. Under the lock."""
        if "memory" in changes:
            changes["memory"] = changes["memory"].searched_like(self._state.memory)
            changes["bank"] = bank_for(self._pipeline, changes["memory"], self._state.bank)
        state = replace(self._state, **changes)
        self._state = _State.of(state.memory, state.calibration, state.bank)
        self._loaded_by = None

    def _follow(self, leader: Detector) -> None:
        """Know what another detector of the same encoder knows."""
        with self._lock:
            # What is the same stays this one's own, so that nothing is copied or built again for it.
            # Exactly: how the leader searches it is the leader's, and _change brings back this one's way.
            own, memory = self._state.memory.references, leader._state.memory
            references = [
                own[place] if place < len(own) and own[place].is_like(one) else one
                for place, one in enumerate(memory.references)
            ]
            self._change(memory=memory.of(references), calibration=leader._state.calibration)

    def undo(self, name: str | None = None) -> str:
        """Take back the last :meth:`add_good`, or the one of a name; also of an earlier session.

        With a name the bank is then what it would be had that part never been added. Where a coreset is kept
        the other parts that were added are encoded again for that, since what was kept of them depends on it.

        Args:
            name: As :meth:`add_good` gave it; ``None``: the last.

        Returns:
            The name of what was removed.

        Raises:
            EnrollmentError: Nothing was added since enrolment, or nothing of that name.
        """
        with self._lock:
            memory = self._state.memory
            place = place_of_added(memory.references, name)
            taken = memory.references[place]
            if name is None or not memory.coreset:
                self._change(memory=memory.without(place))
            else:
                self._change(memory=as_if_never_added(self._pipeline, memory, place, self.bank_limit))
        return taken.picture.name

    def recalibrate(
        self,
        calibration_good: Sequence[Picture | Frame] = (),
        *,
        false_alarm_rate: float | None = None,
        progress: Progress = ignore_progress,
    ) -> Calibration:
        """Choose the thresholds again, from held-out good pictures or from what is in the bank now.

        A threshold that was set by hand is replaced as well.

        Args:
            calibration_good: Good pictures that are not in the bank.
            false_alarm_rate: The rate not to exceed; ``None``: the lowest that can be claimed.
            progress: Called with (stage, done, total).

        Raises:
            EnrollmentError: The rate cannot be claimed from so few pictures, or one of them is in the bank.
        """
        memory = self._state.memory
        held_out = as_pictures(calibration_good, "held-out")
        known = [(reference.picture.name, reference.digest) for reference in memory.references]
        check_distinct([*known, *((picture.name, frame_digest(picture.frame)) for picture in held_out)])
        calibration = calibrate_memory(self._pipeline, memory.exactly(), held_out, false_alarm_rate, progress)
        with self._lock:
            self._change(calibration=calibration)
        return calibration

    def set_threshold(self, threshold: float) -> None:
        """Set the image threshold by hand; it is marked as such.

        Raises:
            EnrollmentError: It is not a finite number of at least 0.
        """
        with self._lock:
            self._change(calibration=by_hand(self._state.calibration, threshold))

    def restore_calibration(self, calibration: Calibration) -> None:
        """Go back to thresholds that this detector had: what :attr:`calibration` gave earlier."""
        with self._lock:
            self._change(calibration=calibration)

    # -- looking at it ---------------------------------------------------------------------------------

    @property
    def state(self) -> object:
        """Another object after every change: while it is the same, the same frame gets the same answer."""
        return self._state

    @property
    def encoder(self) -> Encoder:
        """The encoder; may be shared."""
        return self._pipeline.encoder

    @property
    def recipe(self) -> Recipe:
        """The method."""
        return self._pipeline.recipe

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks whose outputs make the features, counted from 1."""
        return tuple(output.layer for output in self.encoder.feature_outputs(self.recipe.layers))

    @property
    def mask(self) -> MaskDecision:
        """Whether frames are masked, who decided, and why."""
        return self._pipeline.mask

    @property
    def calibration(self) -> Calibration:
        """Where the thresholds come from."""
        return self._state.calibration

    @property
    def tuning(self) -> Tuning | None:
        """What ``edgead tune`` stored, where it was run."""
        return None if self._tuning is None else self._tuning.record

    @property
    def threshold(self) -> float:
        """Scores above this are anomalous."""
        return self._state.calibration.threshold

    @property
    def references(self) -> tuple[Reference, ...]:
        """The bank, in the order of enrolment."""
        return self._state.memory.references

    @property
    def coreset(self) -> tuple[CoresetRecord, ...]:
        """For each layer what the bank leaves out and guarantees; empty where it keeps all patches."""
        return self._state.memory.coreset

    @property
    def rows(self) -> int:
        """Patches in the bank, of the last layer."""
        return self._state.memory.rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how the references fit the encoder."""
        return enrollment_notes(self.encoder, self.layers, self.references)

    @property
    def budget_notes(self) -> tuple[str, ...]:
        """What a person should know of its latency budget, where it has one."""
        return ()

    def close(self) -> None:
        """Release the encoder if this detector loaded it."""
        if self._owns_encoder:
            self.encoder.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _recipe_of(fields: dict[str, Any], path: Path) -> Recipe:
    try:
        return recipe_from_dict(fields)
    except RecipeError as error:
        raise BundleError(f"{path} is damaged ({error.problem})", "Enrol the detector again.") from error


def _unused(name: str, taken: set[str]) -> str:
    """``name``, numbered where there is one already: undo says by name what it took back."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} ({number})"
    return candidate


@contextlib.contextmanager
def _closed_on_failure(encoder: Encoder | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if encoder is not None:
            encoder.close()
        raise
