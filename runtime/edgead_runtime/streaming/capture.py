"""The capture thread of one camera, and the watch over it."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

from edgead_runtime.errors import ConfigError, PictureError, SourceError, SourceLostError
from edgead_runtime.images import Frame
from edgead_runtime.streaming.clock import Clock
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.mailbox import Mailbox
from edgead_runtime.streaming.shaping import Stillness, cropped
from edgead_runtime.streaming.shown import without_secrets
from edgead_runtime.streaming.sources.base import EndOfSourceError, Grab, Session, Source
from edgead_runtime.streaming.triggers import Trigger

_TRIGGERED_FRAMES = 8
_WAITING_FILES = 2
_MAX_HUNG_READERS = 3
_AFTER_UNUSABLE_S = 0.01
_MISSED_TOLD_S = 60.0
"""After the last missed trigger: one in a month is no reason not to be ready for the rest of it."""


@dataclass(frozen=True)
class CaptureSettings:
    """How frames are taken from a source."""

    crop: tuple[int, int, int, int] | None = None
    """The part to inspect: x, y, width, height in pixels of the source's picture."""
    max_fps: float | None = None
    """Frames a second at most; a live source's others are skipped, a file's wait."""
    stall_s: float = 15.0
    """A source that gives nothing for so long hangs; a live one is then opened anew."""
    frozen_s: float = 10.0
    """A live source that gives the very same picture for so long is frozen; 0: never."""
    backoff_s: tuple[float, float] = (0.5, 30.0)
    """Wait before opening again: the first, doubled each time up to the second; 20 % more or less by chance,
    so that twenty cameras do not all knock at once."""
    give_up_s: float | None = None
    """Stop the camera when it was away for so long; ``None``: never."""

    def __post_init__(self) -> None:
        if self.crop is not None and (min(self.crop) < 0 or min(self.crop[2:]) == 0):
            raise ConfigError(f"crop {list(self.crop)} is no area", "Give x, y, width, height in pixels.")
        if self.max_fps is not None and not self.max_fps > 0:
            raise ConfigError(f"max_fps is {self.max_fps}", "Give frames a second above 0.")
        if not self.stall_s > 0:
            raise ConfigError(f"stall_s is {self.stall_s}", "Give seconds above 0.")
        if not 0 < self.backoff_s[0] <= self.backoff_s[1]:
            raise ConfigError(f"backoff_s is {list(self.backoff_s)}", "Give a first and a longest wait.")


class Capture:
    """Keeps one source open and its frames coming.

    Args:
        source: Where they come from.
        settings: How they are taken.
        trigger: When; ``None``: always.
        arrived: Notified when there is something to look at.
        clock: For stamps.
    """

    def __init__(
        self,
        source: Source,
        settings: CaptureSettings,
        trigger: Trigger | None,
        arrived: threading.Condition,
        clock: Clock,
    ) -> None:
        self.source, self.settings, self.trigger, self.clock = source, settings, trigger, clock
        capacity = _TRIGGERED_FRAMES if trigger else 1 if source.live else _WAITING_FILES
        self.mailbox = Mailbox(capacity, waits=not source.live, arrived=arrived)
        self.captured = 0
        """Frames that the source gave, unusable ones included; the next one's sequence number."""
        self.skipped = 0
        """Frames not taken because of ``max_fps`` or for want of a trigger."""
        self.unusable = 0
        self.reconnects = 0
        self.ended = False
        self.failure: SourceError | None = None
        self.away_since: float | None = None
        """Since when nothing has come that should have; of all readers together."""
        self._missed, self._missed_s = 0, 0.0
        self._troubles: dict[str, str] = {}
        self._lock = threading.Lock()
        self._hung: list[_Reader] = []
        self._reader = _Reader(self)

    def start(self) -> None:
        """Begin to capture."""
        self._reader.start()

    def stop(self, wait_s: float = 2.0) -> None:
        """Stop; a reader that hangs is left behind (its thread dies with the process)."""
        self._reader.given_up.set()
        self.mailbox.wake()
        if self._reader.is_alive():
            self._reader.join(wait_s)

    @property
    def troubles(self) -> dict[str, str]:
        """What is wrong now, kind -> in words; docs/loop.md has the kinds."""
        with self._lock:
            return dict(self._troubles)

    def set_trouble(self, kind: str, text: str | None) -> None:
        """Begin (or end, with ``None``) a trouble."""
        with self._lock:
            if text is None:
                self._troubles.pop(kind, None)
            else:
                self._troubles.setdefault(kind, text)

    def watch(self) -> None:
        """Notice a source that hangs, and open a live one anew; called by the loop every so often."""
        if self.trigger is not None:
            self.set_trouble("trigger lost", self.trigger.problem or None)
            self._watch_triggers(self.trigger.missed)
        since = self._reader.busy_since
        source = self.source
        if since is None or (source.paces_itself and not source.live):
            return
        silent_s = self.clock.monotonic() - since
        if silent_s <= self.settings.stall_s:
            return
        self.set_trouble("stalled", f"{source.label} has given nothing for {silent_s:.0f} s")
        away = self.away(since)
        if away is not None:
            self._reader.given_up.set()
            self.failure = SourceError(
                f"{source.label} has given nothing, {away}", "See whether it is there."
            )
            self.ended = True
            return
        self._hung = [reader for reader in self._hung if reader.is_alive()]
        # A thread that hangs in a driver cannot be ended. Three are left behind at most, so that memory and
        # handles stay bounded; then we wait for one of them to come back.
        if source.live and not source.paces_itself and len(self._hung) < _MAX_HUNG_READERS:
            self._reader.given_up.set()
            self._hung.append(self._reader)
            self.reconnects += 1
            self._reader = _Reader(self)
            self._reader.start()

    def away(self, since: float) -> str | None:
        """In words, for how long nothing has come, where that is too long; else ``None``.

        Args:
            since: When it began, if it begins now.
        """
        self.away_since = since if self.away_since is None else self.away_since
        away_s = self.clock.monotonic() - self.away_since
        give_up_s = self.settings.give_up_s
        return f"for {away_s:.0f} s now" if give_up_s is not None and away_s >= give_up_s else None

    def _watch_triggers(self, missed: int) -> None:
        now = self.clock.monotonic()
        if missed > self._missed:
            self._missed, self._missed_s = missed, now
            parts = "part" if missed == 1 else "parts"
            self.set_trouble("triggers missed", f"{missed} {parts} came faster than frames")
        elif now - self._missed_s >= _MISSED_TOLD_S:
            self.set_trouble("triggers missed", None)


class _Reader(threading.Thread):
    """Opens, reads, and opens again. Frames of one that was given up are thrown away."""

    def __init__(self, capture: Capture) -> None:
        super().__init__(name=f"capture {capture.source.label}", daemon=True)
        self._capture = capture
        self._settings = capture.settings
        self._clock = capture.clock
        self.given_up = threading.Event()
        self.busy_since: float | None = None
        """Since when it has been waiting for the source."""
        self._failures = 0
        self._due_s = -1.0
        self._label: str | None = None
        self._still = Stillness()

    def run(self) -> None:
        try:
            while not self.given_up.is_set() and not self._session():
                self.given_up.wait(self._backoff())
        except EndOfSourceError:
            self._finish(None)
        except SourceError as error:
            self._finish(error)

    def _finish(self, failure: SourceError | None) -> None:
        if self.given_up.is_set():
            return
        self._capture.failure = failure
        self._capture.ended = True
        self._capture.mailbox.wake()

    def _session(self) -> bool:
        """One connection from open to loss; true when it was told to stop.

        Raises:
            SourceError: It is of no use to try again.
            EndOfSourceError: It came to its end.
        """
        session: Session | None = None
        source = self._capture.source
        try:
            self.busy_since = self._clock.monotonic()
            session = source.open()
            while not self.given_up.is_set():
                self._step(session)
        except SourceLostError as error:
            return self._lost(error)
        except (EndOfSourceError, SourceError):
            raise
        except Exception as error:  # a driver's own exception must not end the thread unseen
            problem = f"{source.label} raised {type(error).__name__}: {without_secrets(str(error))}"
            lost = SourceLostError(problem, "See what its driver says; it is tried again.")
            if not source.live:
                raise SourceError(problem, "Mend what gives the frames.") from error
            return self._lost(lost)
        finally:
            self.busy_since = None
            if session is not None:
                session.close()
        return True

    def _step(self, session: Session) -> None:
        source = self._capture.source
        if not source.live and not self._allowed():
            return
        self.busy_since = self._clock.monotonic()
        try:
            grab = session.read()
        except PictureError as error:
            grab = None
            self._deliver(None, "", error)
            if source.live:
                self.given_up.wait(_AFTER_UNUSABLE_S)
        finally:
            self.busy_since = None
        if self.given_up.is_set():  # it hung, and what it says now is no longer of this camera
            return
        self._found_again()
        if grab is None:
            return
        if source.live:
            self._watch_stillness(grab.image)
            if not self._allowed():
                self._capture.captured += 1
                self._capture.skipped += 1
                return
        self._deliver(grab, self._label or grab.name, None)

    def _allowed(self) -> bool:
        """Whether trigger and rate want a frame now; a file waits here for them."""
        live = self._capture.source.live
        trigger = self._capture.trigger
        if trigger is not None:
            # A live source keeps being read, so that the frame taken is from after the trigger.
            self._label = trigger.wait(0.0 if live else 0.2)
            return self._label is not None
        if self._settings.max_fps is None:
            return True
        now = self._clock.monotonic()
        if now < self._due_s:
            if live:
                return False
            self.given_up.wait(self._due_s - now)
        self._due_s = max(self._due_s, now - 1 / self._settings.max_fps) + 1 / self._settings.max_fps
        return not self.given_up.is_set()

    def _deliver(self, grab: Grab | None, name: str, problem: PictureError | None) -> None:
        capture = self._capture
        if self.given_up.is_set():
            return
        image = None
        if grab is not None:
            try:
                image = cropped(grab.image, self._settings.crop)
            except PictureError as error:
                problem = error
        capture.unusable += image is None
        frame = CameraFrame(
            image,
            capture.captured,
            self._clock.monotonic(),
            self._clock.now(),
            name,
            problem,
            frozen="frozen" in capture.troubles,
        )
        capture.captured += 1
        capture.mailbox.put(frame, self.given_up)

    # -- what goes wrong -------------------------------------------------------------------------------

    def _lost(self, error: SourceLostError) -> bool:
        """False: it is to be opened again; true where another reader has it by now."""
        if self.given_up.is_set():
            return True
        self._failures += 1
        self._capture.reconnects += 1
        self._capture.set_trouble("lost", error.problem)
        away = self._capture.away(self._clock.monotonic())
        if away is not None:
            raise SourceError(f"{error.problem}, {away}", error.remedy)
        return False

    def _found_again(self) -> None:
        self._failures = 0
        self._capture.away_since = None
        for kind in ("lost", "stalled"):
            self._capture.set_trouble(kind, None)

    def _backoff(self) -> float:
        first, longest = self._settings.backoff_s
        wait = min(longest, first * 2.0 ** min(self._failures - 1, 30))
        return wait * random.uniform(0.8, 1.2)  # noqa: S311  (no secret)

    def _watch_stillness(self, image: Frame) -> None:
        if self._settings.frozen_s <= 0:
            return
        still_s = self._still.seconds(image, self._clock.monotonic())
        if still_s >= self._settings.frozen_s:
            self._capture.set_trouble(
                "frozen", f"{self._capture.source.label} has given the same picture for {still_s:.0f} s"
            )
        elif still_s == 0:
            self._capture.set_trouble("frozen", None)
