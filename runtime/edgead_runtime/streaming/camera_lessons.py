"""What one camera's detector was taught: in its bank, on the disk, and in the journal, all three or none."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from typing import Literal

import msgspec

from edgead_runtime.bank import Reference
from edgead_runtime.detector import Detector
from edgead_runtime.detector_identity import detector_fingerprint
from edgead_runtime.errors import EdgeadError, LearningError
from edgead_runtime.images import Picture, frame_digest, read_picture
from edgead_runtime.streaming.clock import Clock, stamp
from edgead_runtime.streaming.lesson_facts import PictureFacts, printable
from edgead_runtime.streaming.lesson_journal import JOURNAL_NAME, Entry, Journal, folder_for
from edgead_runtime.streaming.lesson_pictures import DEFECT, GOOD, LessonPictures
from edgead_runtime.streaming.teaching import Lesson

log = logging.getLogger("edgead.learning")

LEARNED_NAME = "learned.edgead"
SoFar = Callable[[int, int], None]


class CameraLessons:
    """See the module. Lessons of one camera are taken one at a time; frames are inspected meanwhile.

    Args:
        camera: Its name.
        detector: Learns; is not closed.
        pictures: Where pictures go, in the folder that has this camera's.
        clock: For stamps.

    Raises:
        EdgeadError: The journal cannot be used.
    """

    def __init__(self, camera: str, detector: Detector, pictures: LessonPictures, clock: Clock) -> None:
        self.camera, self.detector = camera, detector
        self._pictures, self._clock = pictures, clock
        self._lock = threading.Lock()
        self._folder = folder_for(pictures.path(camera))
        self._journal = Journal(self._folder / JOURNAL_NAME)
        self.not_learned: dict[str, str] = {}
        """Lessons that count and are not in the bank all the same: id -> why."""
        self._changed = False
        self._is_whole = False
        """Whether all that counts has been learned again, as far as it can be."""
        self._calibration = detector.calibration
        """From before a threshold was moved while the loop ran."""

    # -- from an earlier run ---------------------------------------------------------------------------

    def learn_again(self, so_far: SoFar = lambda done, total: None) -> None:
        """Bring the detector, as its file has it, to what the journal says. What cannot be, is logged.

        Args:
            so_far: Called before each lesson, and after the last, with how many are done and how many there
                are; what it raises ends this in between.
        """
        with self._lock:
            undone = self._journal.undone()
            good = [entry for entry in self._journal.entries if entry.kind == "good"]
            counting = [entry for entry in good if entry.id not in undone]
            wanted = {entry.digest for entry in counting}
            for entry in good:
                # The file may have been taken over from what was learned here, before it was undone.
                reference = self._reference(entry.digest)
                if reference is not None and reference.added == "add_good" and entry.digest not in wanted:
                    with self._as_ours():
                        self.detector.undo(reference.picture.name)
                    self._changed = True
            missing = [entry for entry in counting if self._reference(entry.digest) is None]
            if missing:
                pictures = "picture" if len(missing) == 1 else "pictures"
                log.info("%s: learning %d good %s again", self.camera, len(missing), pictures)
            for done, entry in enumerate(missing):
                so_far(done, len(missing))
                try:
                    with self._as_ours():
                        self._learn_from_file(entry)
                except EdgeadError as error:
                    self.not_learned[entry.id] = str(error)
                    log.error("%s: lesson %s is not in the bank: %s", self.camera, entry.id, error)  # noqa: TRY400
            if missing:
                so_far(len(missing), len(missing))
            for entry in self._journal.entries:
                if entry.id in undone:  # a crash may have come between
                    self._set_aside(entry)
            self._is_whole = True

    def _learn_from_file(self, entry: Entry) -> None:
        path = self._pictures.path(entry.picture)
        picture = read_picture(path)
        if frame_digest(picture.frame) != entry.digest:
            raise LearningError(
                f"{path} is not the picture that was taught", "Restore it, or undo the lesson."
            )
        self.detector.add_good(picture, path.name)
        self._changed = True

    # -- lessons ---------------------------------------------------------------------------------------

    def add_good(self, picture: Picture, who: str) -> tuple[Entry, Picture]:
        """See :class:`~edgead_runtime.streaming.teaching.Teacher`; also gives the picture as it was kept."""
        facts = PictureFacts.of(picture)
        with self._lock:
            self._check_not_taught(facts.digest, "good")
            lesson_id = self._new_id()
            name = f"{lesson_id}.png"
            kept = facts.kept_as(name)
            before = detector_fingerprint(self.detector)
            relative = self._keep(GOOD, name, facts)
            try:
                with self._as_ours():
                    name = self.detector.add_good(kept, name)
                try:
                    entry = self._entry(lesson_id, "good", who, facts, relative, before)
                    self._journal.append(entry)
                except BaseException:
                    # Not to be kept means not to be learned: the next start would not know it.
                    self.detector.undo(name)
                    raise
            except BaseException:
                self._pictures.drop(relative)
                raise
            self._changed = True
        return entry, kept

    def keep_defect(self, picture: Picture, who: str) -> tuple[Entry, Picture]:
        """See :class:`~edgead_runtime.streaming.teaching.Teacher`; also gives the picture as it was kept."""
        facts = PictureFacts.of(picture)
        with self._lock:
            self._check_not_taught(facts.digest, "defect")
            lesson_id = self._new_id()
            relative = self._keep(DEFECT, f"{lesson_id}.png", facts)
            try:
                before = detector_fingerprint(self.detector)
                entry = self._entry(lesson_id, "defect", who, facts, relative, before)
                self._journal.append(entry)
            except BaseException:
                self._pictures.drop(relative)
                raise
        return entry, facts.kept_as(f"{lesson_id}.png")

    def undo(self, lesson_id: str, who: str) -> Entry:
        """See :class:`~edgead_runtime.streaming.teaching.Teacher`."""
        with self._lock:
            taught = self._undoable(lesson_id)
            before = detector_fingerprint(self.detector)
            reference = self._reference(taught.digest) if taught.kind == "good" else None
            if reference is not None:
                if reference.added == "enrollment":
                    raise LearningError(
                        f"the picture of lesson {lesson_id} is among those of enrolment by now",
                        "Enrol again without it.",
                    )
                with self._as_ours():
                    self.detector.undo(reference.picture.name)
            try:
                entry = self._undo_of(taught, who, before)
                self._journal.append(entry)
            except BaseException:
                if reference is not None:
                    self.detector.add_good(reference.picture, reference.picture.name)
                raise
            self._changed = self._changed or reference is not None
            self.not_learned.pop(lesson_id, None)
            self._set_aside(taught)
        return entry

    def _set_aside(self, taught: Entry) -> None:
        try:
            self._pictures.set_aside(taught.picture)
        except EdgeadError as error:  # it counts no longer; the next start tries again
            log.warning("%s: %s", self.camera, error)

    def _undoable(self, lesson_id: str) -> Entry:
        taught = self._journal.find(lesson_id)
        if taught is None:
            raise LearningError(f"{self.camera} has no lesson {lesson_id}", "See the list of its lessons.")
        if taught.kind == "undo":
            raise LearningError(f"{lesson_id} took a lesson back", "Teach its picture again instead.")
        if lesson_id in self._journal.undone():
            raise LearningError(f"lesson {lesson_id} was taken back already", "There is nothing to undo.")
        return taught

    def lessons(self, limit: int) -> list[Lesson]:
        """The last ones, newest first; does not wait for a lesson that is being taken."""
        return self._journal.lessons(limit)

    # -- parts -----------------------------------------------------------------------------------------

    def _reference(self, digest: str) -> Reference | None:
        return next((one for one in self.detector.references if one.digest == digest), None)

    @contextlib.contextmanager
    def _as_ours(self) -> Iterator[None]:
        """What an engine raises, as an error for a person."""
        try:
            yield
        except EdgeadError:
            raise
        except Exception as error:
            log.exception("%s: the detector failed", self.camera)
            raise LearningError(
                f"the detector of {self.camera} failed ({type(error).__name__}: {error})",
                "See the log; try again.",
            ) from error

    def _check_not_taught(self, digest: str, kind: str) -> None:
        undone = self._journal.undone()
        for entry in self._journal.entries:
            if entry.digest == digest and entry.kind != "undo" and entry.id not in undone:
                what = "good" if entry.kind == "good" else "a defect"
                raise LearningError(
                    f"this picture was taught as {what} already (lesson {entry.id})",
                    "There is nothing to do." if entry.kind == kind else "Take that lesson back first.",
                )

    def _keep(self, place: str, name: str, facts: PictureFacts) -> str:
        enrolled = [one for one in self.detector.references if one.added == "enrollment"]
        self._pictures.copy_enrolled(self.camera, enrolled)
        return self._pictures.keep(self.camera, place, name, facts.png)

    def _new_id(self) -> str:
        return f"{self._clock.now().astimezone(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"

    def _entry(
        self,
        lesson_id: str,
        kind: Literal["good", "defect"],
        who: str,
        facts: PictureFacts,
        picture: str,
        before: str,
    ) -> Entry:
        now = self._clock.now()
        return Entry(
            id=lesson_id,
            camera=self.camera,
            kind=kind,
            at=now.timestamp(),
            time=stamp(now),
            who=printable(who),
            picture=picture,
            name=facts.name,
            width=facts.width,
            height=facts.height,
            digest=facts.digest,
            before=before,
            after=detector_fingerprint(self.detector),
            patches=self.detector.rows,
        )

    def _undo_of(self, taught: Entry, who: str, before: str) -> Entry:
        now = self._clock.now()
        return msgspec.structs.replace(
            taught,
            id=self._new_id(),
            kind="undo",
            at=now.timestamp(),
            time=stamp(now),
            who=printable(who),
            undoes=taught.id,
            before=before,
            after=detector_fingerprint(self.detector),
            patches=self.detector.rows,
        )

    def close(self) -> None:
        """Write what was learned as a detector of its own, where there is any; and close the journal."""
        with self._lock:
            path = self._folder / LEARNED_NAME
            try:
                # An older file may know a lesson that was undone in a run that did not come to its end. One
                # that was ended while it learned again knows too little.
                if self._is_whole and (self._changed or path.exists()):
                    self._save(path)
            except EdgeadError as error:  # the journal has it all
                log.warning("%s: %s", self.camera, error)
            finally:
                self._journal.close()

    def _save(self, path: Path) -> None:
        """With the threshold from before somebody moved it for a moment."""
        moved = self.detector.calibration
        self.detector.restore_calibration(self._calibration)
        try:
            self.detector.save(path)
        finally:
            self.detector.restore_calibration(moved)
