"""The loop: newest frame, detector, decision, listeners; for one camera or several."""

from __future__ import annotations

import logging
import secrets
import threading
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from edgead_runtime.errors import (
    ConfigError,
    EdgeadError,
    GpuLostError,
    PictureError,
    SourceError,
    StreamStoppedError,
)
from edgead_runtime.result import Result
from edgead_runtime.streaming.cameras import Camera, CameraStats
from edgead_runtime.streaming.capture import Capture
from edgead_runtime.streaming.clock import SYSTEM_CLOCK, Clock
from edgead_runtime.streaming.engine_thread import EngineThread
from edgead_runtime.streaming.events import Event, Judge
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.lane import Lane, Teller
from edgead_runtime.streaming.results import Listener, StreamResult
from edgead_runtime.unchanged import UnchangedFrames

_TICK_S = 0.25
_GRACE_S = 10.0
"""For the frame at hand, once it is told to end: service managers have less patience than engines."""
_READERS_END_S = 2.0

log = logging.getLogger("edgead.stream")


class Stream:
    """Inspects cameras until they end, somebody stops it, or it cannot go on. Iterate over it once.

    Also a context manager; leaving it, or the ``for`` loop, closes open events and stops the threads.

    Args:
        cameras: One or more, with names of their own.
        listeners: Told of results and messages, e.g. a :class:`~edgead_runtime.streaming.Delivery`.
        stop: Set by whoever wants it to end (a signal, another thread).
        engine_timeout_s: A frame that takes longer means that the engine hangs.
        give_up_after: Stop when a detector failed on so many frames in a row, or for good since its GPU is
            lost; 0: never.
        clock: For tests.
        run: Makes event ids differ between runs; by default random.

    Raises:
        ConfigError: No camera, or two of one name.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        *,
        listeners: Sequence[Listener] = (),
        stop: threading.Event | None = None,
        engine_timeout_s: float = 60.0,
        give_up_after: int = 100,
        clock: Clock = SYSTEM_CLOCK,
        run: str | None = None,
    ) -> None:
        names = [camera.name for camera in cameras]
        if not names or len(set(names)) != len(names):
            raise ConfigError(
                f"a stream needs cameras with names of their own, got {', '.join(names) or 'none'}",
                "Name each once.",
            )
        self._stop = stop or threading.Event()
        self._engine_timeout_s, self._give_up_after, self._clock = engine_timeout_s, give_up_after, clock
        self._arrived = threading.Condition()
        run = run or secrets.token_hex(5)
        self._lanes = [self._lane(camera, run) for camera in cameras]
        self._turn = 0
        self._ticked_s = clock.monotonic()
        self._stop_seen_s: float | None = None
        # Weak, or a `for` loop that is left would not end the generator, and with it the threads, at once.
        self._generator: weakref.ref[Generator[StreamResult, None, None]] | None = None
        self._teller = Teller(listeners, clock)

    def _lane(self, camera: Camera, run: str) -> Lane:
        detector: Any = camera.detector
        capture = Capture(camera.source, camera.capture, camera.trigger, self._arrived, self._clock)
        judge = Judge(
            camera.name,
            camera.rules,
            camera.zones,
            lambda: float(detector.calibration.pixel_threshold),
            run,
            self._clock,
        )
        if camera.skip_unchanged is not None:
            return Lane(camera, capture, judge, UnchangedFrames(detector, camera.skip_unchanged))
        return Lane(camera, capture, judge, camera.detector)

    # -- from outside ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask it to end after the frame that is being inspected; from any thread."""
        self._stop.set()

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """What it inspects."""
        return tuple(lane.camera for lane in self._lanes)

    def stats(self) -> Mapping[str, CameraStats]:
        """Counts by camera; from any thread."""
        return {lane.camera.name: lane.stats() for lane in self._lanes}

    @property
    def listener_failures(self) -> int:
        """How often a listener raised."""
        return self._teller.failures

    @property
    def standing_s(self) -> float:
        """Seconds since the loop last turned; many mean that whoever iterates does not come back."""
        return self._clock.monotonic() - self._ticked_s

    def __iter__(self) -> Iterator[StreamResult]:
        if self._generator is not None:
            raise StreamStoppedError("a stream was iterated over twice", "Make another.")
        generator = self._results()
        self._generator = weakref.ref(generator)
        return generator

    def close(self) -> None:
        """Close open events and stop the threads; what it does at its end anyway."""
        generator = self._generator() if self._generator is not None else None
        if generator is not None:
            generator.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the loop --------------------------------------------------------------------------------------

    def _results(self) -> Generator[StreamResult, None, None]:
        engine = EngineThread(self._engine_timeout_s)
        reason = "stopped"
        try:
            for lane in self._lanes:
                if lane.camera.trigger is not None:
                    lane.camera.trigger.open()
                lane.capture.start()
            while not self._stop.is_set():
                self._tick_if_due()
                waiting = self._next_frame()
                if waiting is None:
                    if all(each.over for each in self._lanes):
                        reason = "source ended"
                        break
                    continue
                yield self._inspect(*waiting, engine)
            self._raise_first_failure(reason)
        except EdgeadError as error:
            reason = error.problem
            raise
        finally:
            self._shut_down(engine, reason)

    def _next_frame(self) -> tuple[Lane, CameraFrame] | None:
        """The next camera in turn that has a frame; waits a little for one."""
        for lane in self._lanes:
            # In this order: what came before the end is still in the mailbox.
            if not lane.over and lane.capture.ended and not len(lane.capture.mailbox):
                self._lane_ended(lane)
        with self._arrived:
            waiting = [lane for lane in self._lanes if len(lane.capture.mailbox)]
            if not waiting:
                if not any(lane.capture.ended and not lane.over for lane in self._lanes):
                    self._arrived.wait(_TICK_S)
                return None
            # Whose last frame is longest ago: nobody waits for more than one frame of each other camera.
            lane = min(waiting, key=lambda lane: lane.served)
            self._turn += 1
            lane.served = self._turn
            frame = lane.capture.mailbox.take()
        return None if frame is None else (lane, frame)

    def _inspect(self, lane: Lane, frame: CameraFrame, engine: EngineThread) -> StreamResult:
        result, failure = None, frame.problem
        # A file waits for us, and its waiting is nobody's delay.
        began_s = frame.captured_s if lane.camera.source.live else self._clock.monotonic()
        if frame.image is not None:
            try:
                result = engine.inspect(lane.inspects, frame.image, self._while_it_inspects)
            except StreamStoppedError:
                raise
            except PictureError as error:  # of the wrong size or kind: the camera's doing
                failure = error
            except Exception as error:  # noqa: BLE001  (one bad frame must not end weeks of inspection)
                failure = self._engine_failed(lane, error)
        latency_ms = (self._clock.monotonic() - began_s) * 1e3
        events = self._judge(lane, frame, result, failure)
        lane.tally.latencies_ms.append(latency_ms)
        budget_ms = lane.camera.budget_ms
        late = budget_ms is not None and result is not None and latency_ms > budget_ms
        lane.tally.late += late
        dropped, lane.dropped_told = (
            lane.capture.mailbox.dropped - lane.dropped_told,
            lane.capture.mailbox.dropped,
        )
        outcome = StreamResult(
            lane.camera.name, frame, result, failure, tuple(events), latency_ms, late, dropped
        )
        self._teller.result(outcome)
        if isinstance(failure, GpuLostError) and self._give_up_after:
            # It comes back for another process at best; a service that is started again is one.
            raise StreamStoppedError(
                f"the detector of {lane.camera.name} failed for good ({failure.problem})", failure.remedy
            )
        if failure is not None and 0 < self._give_up_after <= lane.tally.failures_in_a_row:
            raise StreamStoppedError(
                f"the detector of {lane.camera.name} failed on {lane.tally.failures_in_a_row} frames in "
                f"a row ({failure.problem})",
                "Mend that and start again.",
            )
        return outcome

    def _judge(
        self, lane: Lane, frame: CameraFrame, result: Result | None, failure: EdgeadError | None
    ) -> list[Event]:
        if result is None:
            lane.tally.not_inspected += 1
            if failure is not None and "engine" not in lane.own_troubles:
                lane.own_troubles.setdefault("not inspected", failure.problem)
            events = lane.judge.tick()
        else:
            lane.tally.inspected += 1
            lane.tally.anomalies += result.is_anomaly
            lane.tally.degraded += bool(result.degraded)
            lane.tally.repeated += result.repeated
            lane.tally.failures_in_a_row = 0
            lane.own_troubles.clear()
            events = lane.judge.observe(frame, result)
        self._teller.events(events)
        self._teller.troubles_of(lane)
        return events

    def _engine_failed(self, lane: Lane, error: Exception) -> EdgeadError:
        lane.tally.failures_in_a_row += 1
        problem = error.problem if isinstance(error, EdgeadError) else f"{type(error).__name__}: {error}"
        if lane.tally.failures == 0:  # where it comes from, once; each trouble is a line of its own
            log.warning("%s: the detector failed: %s", lane.camera.name, problem, exc_info=error)
        lane.tally.failures += 1
        lane.own_troubles.setdefault("engine", f"the detector failed: {problem}")
        if isinstance(error, EdgeadError):
            return error
        return EdgeadError(f"the detector failed: {problem}", "See the log; the next frame is tried.")

    # -- what passes beside frames ---------------------------------------------------------------------

    def _while_it_inspects(self) -> None:
        self._tick_if_due()
        if not self._stop.is_set():
            return
        now = self._clock.monotonic()
        self._stop_seen_s = now if self._stop_seen_s is None else self._stop_seen_s
        if now - self._stop_seen_s >= _GRACE_S:
            raise StreamStoppedError(
                f"told to end, and the engine has not come back from a frame for {_GRACE_S:.0f} s more",
                "If it happens again, try another engine (--engine) or fewer threads.",
            )

    def _tick_if_due(self) -> None:
        now = self._clock.monotonic()
        if now - self._ticked_s < _TICK_S:
            return
        self._ticked_s = now
        for lane in self._lanes:
            if not lane.over:
                lane.capture.watch()
                self._teller.troubles_of(lane)
                self._teller.events(lane.judge.tick())

    def _lane_ended(self, lane: Lane) -> None:
        lane.over = True
        failure = lane.capture.failure
        if failure is not None:
            lane.own_troubles["source failed"] = failure.problem
        self._teller.troubles_of(lane)
        self._teller.events(lane.judge.finish("source failed" if failure else "source ended"))

    def _raise_first_failure(self, reason: str) -> None:
        """One that failed does not stop the others, but is not passed over at the end either."""
        failures: list[SourceError] = [
            lane.capture.failure for lane in self._lanes if lane.capture.failure is not None
        ]
        if reason != "stopped" and failures:
            raise failures[0]

    def _shut_down(self, engine: EngineThread, reason: str) -> None:
        for lane in self._lanes:
            lane.capture.stop(wait_s=0)
        # What was promised first; then, all together, whatever may hang.
        for lane in self._lanes:
            self._teller.events(lane.judge.finish(reason))
            lane.own_troubles.clear()
            self._teller.no_more_troubles(lane)
        end = time.monotonic() + _READERS_END_S
        for lane in self._lanes:
            lane.capture.stop(max(0.0, end - time.monotonic()))
            if lane.camera.trigger is not None:
                lane.camera.trigger.close()
        engine.close()
