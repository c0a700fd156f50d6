"""Learning on the line: good parts go into the bank while it runs, and can be taken back, each by itself.

The journal of a camera (:mod:`~edgead_runtime.streaming.lesson_journal`) with the pictures beside it is what
survives. At a start the lessons that count are learned again, in their order, by the detector as its file has
it; that file is never written. A working copy of the detector would start faster, and was not taken: it
would hold two truths (the file may be enrolled anew, or its threshold changed, between two runs), and be
written as a whole for each lesson.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from edgead_runtime.detector import Detector
from edgead_runtime.errors import ConfigError, LearningError
from edgead_runtime.images import Picture, encode_jpeg
from edgead_runtime.memory import size_of
from edgead_runtime.streaming.camera_lessons import CameraLessons
from edgead_runtime.streaming.clock import SYSTEM_CLOCK, Clock
from edgead_runtime.streaming.lesson_journal import Entry, folder_for
from edgead_runtime.streaming.lesson_pictures import LessonPictures
from edgead_runtime.streaming.messages import PICTURE, Message
from edgead_runtime.streaming.teaching import Lesson

log = logging.getLogger("edgead.learning")

_GROWTH = 2
_LEAST_LIMIT = 65_536


def default_bank_limit(detector: Detector) -> int:
    """Twice the patches that were enrolled, and at least 65,536: what a frame is compared with is bounded."""
    enrolled = [reference for reference in detector.references if reference.added == "enrollment"]
    return max(_GROWTH * sum(map(size_of, enrolled)), _LEAST_LIMIT)


class LineLearning:
    """Takes lessons for the detectors of a loop; a :class:`~edgead_runtime.streaming.teaching.Teacher`.

    Use it as a context manager around the stream, inside those of the detectors. Safe from any thread. A
    lesson is encoded in the thread that calls, beside the frames; the bank is replaced at once, so a frame is
    inspected with what was known before or after it. Detectors may share an encoder, and may have faster
    settings for a budget: all of these learn, or none.

    Args:
        detectors: By camera; each camera has its own.
        folder: Where journals and pictures go.
        max_mb: Quota of the pictures that were taught, of all cameras. Beyond it pictures of undone lessons
            go; what is still needed is never removed, and lessons are refused instead.
        bank_limit: Patches of a layer that a bank may come to. A coreset is thinned to stay below; any other
            bank refuses the lesson. ``None``: :func:`default_bank_limit`.
        tell: Takes the message of each lesson, e.g. :meth:`Delivery.on_message`.
        so_far: Called with the camera, how many lessons are learned again and how many there are, before each
            of them and after the last; what it raises ends the opening between two lessons. Each takes an
            encoding for each view, so that hundreds take minutes.
        clock: For stamps.

    Raises:
        ConfigError: Two cameras share a detector, or a camera's name is none for a folder.
    """

    def __init__(
        self,
        detectors: Mapping[str, Detector],
        folder: str | Path,
        *,
        max_mb: float = 2000.0,
        bank_limit: int | None = None,
        tell: Callable[[Message], None] | None = None,
        so_far: Callable[[str, int, int], None] = lambda camera, done, total: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if len(set(map(id, detectors.values()))) != len(detectors):
            raise ConfigError("two cameras that learn share a detector", "Load one for each camera.")
        for name in detectors:
            if not name or name.startswith(".") or set(name) & set("/\\"):
                raise ConfigError(f"{name!r} is no name for a folder", "Give the camera another name.")
        self._detectors, self._folder, self._max_bytes = dict(detectors), Path(folder), int(max_mb * 1e6)
        self._bank_limit, self._tell, self._so_far, self._clock = bank_limit, tell, so_far, clock
        self._cameras: dict[str, CameraLessons] = {}
        self._opened = ExitStack()

    # -- life ------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the journals, and learn again what they say.

        The thresholds that a detector has now are those that ``learned.edgead`` will have.

        Raises:
            LearningError: Another process uses the folder, or a journal is damaged.
            OutputError: The folder cannot be made.
        """
        pictures = LessonPictures(folder_for(self._folder), self._max_bytes)
        with ExitStack() as opened:
            for name, detector in self._detectors.items():
                lessons = CameraLessons(name, detector, pictures, self._clock)
                opened.callback(lessons.close)
                limit = self._bank_limit
                detector.bank_limit = default_bank_limit(detector) if limit is None else limit
                lessons.learn_again(functools.partial(self._so_far, name))
                self._cameras[name] = lessons
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Leave each camera's detector, as it has become, in ``FOLDER/CAMERA/learned.edgead``, and end."""
        self._cameras = {}
        self._opened.close()

    def __enter__(self) -> LineLearning:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- as a teacher ----------------------------------------------------------------------------------

    def add_good(self, camera: str, picture: Picture, who: str) -> Lesson:
        """A good part: its camera's detector knows it from the next frame on.

        When this returns, it is known, and will be known after a restart, also after ``kill -9``.

        Args:
            camera: Its name.
            picture: As it was inspected.
            who: As they call themselves.

        Raises:
            LearningError: There is no such camera, the picture was taught already, or the quota is used up.
            EnrollmentError: It is among the pictures of enrolment, or the bank is full.
            PictureError: It is no frame, or of another size.
            OutputError: It cannot be kept; then it is not learned.
        """
        entry, kept = self._of(camera).add_good(picture, who)
        return self._done(entry, kept)

    def keep_defect(self, camera: str, picture: Picture, who: str) -> Lesson:
        """A defect: the picture is kept for later, and the detector stays as it is.

        Args:
            camera: Its name.
            picture: As it was inspected.
            who: As they call themselves.

        Raises:
            LearningError: There is no such camera, the picture was taught already, or the quota is used up.
            PictureError: It is no frame.
            OutputError: It cannot be kept.
        """
        entry, kept = self._of(camera).keep_defect(picture, who)
        return self._done(entry, kept)

    def undo(self, camera: str, lesson_id: str, who: str) -> Lesson:
        """Take back one lesson, whichever it is; the bank is as if it had never been.

        Args:
            camera: Its name.
            lesson_id: Of a lesson of kind ``good`` or ``defect``.
            who: As they call themselves.

        Raises:
            LearningError: There is no such lesson, or it was taken back already.
            OutputError: The journal cannot be written; then the lesson still counts.
        """
        return self._done(self._of(camera).undo(lesson_id, who), None)

    def lessons(self, camera: str, limit: int = 50) -> Sequence[Lesson]:
        """The last lessons of a camera, newest first.

        Raises:
            LearningError: There is no such camera.
        """
        return self._of(camera).lessons(limit)

    def not_learned(self, camera: str) -> Mapping[str, str]:
        """Lessons of an earlier run that count and could not be learned again: id -> why.

        Raises:
            LearningError: There is no such camera.
        """
        return dict(self._of(camera).not_learned)

    # -- parts -----------------------------------------------------------------------------------------

    def _of(self, camera: str) -> CameraLessons:
        try:
            return self._cameras[camera]
        except KeyError:
            known = ", ".join(self._cameras) or "none: it is not open"
            raise LearningError(f"no camera {camera} learns", f"Those that do: {known}.") from None

    def _done(self, entry: Entry, kept: Picture | None) -> Lesson:
        words = {"good": "taught as good", "defect": "kept as a defect", "undo": f"took back {entry.undoes}"}
        text = f"{words[entry.kind]} by {entry.who or 'nobody named'}"
        log.info("%s: lesson %s: %s, %d patches", entry.camera, entry.id, text, entry.patches)
        if self._tell is not None:
            try:
                self._tell(_message(entry, kept, text))
            except Exception:  # it is learned and kept; whoever listens must not undo that
                log.exception("lesson %s could not be told", entry.id)
        return entry.lesson(undone=False)


def _message(entry: Entry, kept: Picture | None, text: str) -> Message:
    body = {
        "lesson": entry.kind,
        "who": entry.who,
        "text": text,
        "name": entry.name,
        "picture": entry.picture,
        "undoes": entry.undoes,
        "detector_before": entry.before,
        "detector_after": entry.after,
        "patches": entry.patches,
    }
    return Message(
        "unlearned" if entry.kind == "undo" else "learned",
        entry.camera,
        entry.id,
        "closed",  # it happened; nothing is open
        entry.time,
        body,
        {} if kept is None else {PICTURE: lambda: encode_jpeg(kept.frame)},
    )
