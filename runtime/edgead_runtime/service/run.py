"""Running a configured loop until it ends or somebody ends it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from edgead_runtime.detector import Detector
from edgead_runtime.service.build import build_cameras, build_drift, build_view, set_thresholds
from edgead_runtime.service.learning import build_commands, build_learning
from edgead_runtime.service.sinks import build_clips, build_sinks
from edgead_runtime.service.starting import Starting, StoppedWhileStartingError
from edgead_runtime.service.systemd import ServiceManager
from edgead_runtime.service.tables import LoopConfig
from edgead_runtime.streaming.cameras import CameraStats
from edgead_runtime.streaming.delivery import Delivery
from edgead_runtime.streaming.loop import Stream
from edgead_runtime.streaming.mqtt_commands import metric_lines
from edgead_runtime.streaming.results import Listener
from edgead_runtime.streaming.signals import stop_on_signals
from edgead_runtime.streaming.sinks import Metrics
from edgead_runtime.streaming.sinks.metrics import LOOP_STANDS_S
from edgead_runtime.streaming.view import LiveView

log = logging.getLogger("edgead.run")


def run_loop(config: LoopConfig, base: Path) -> Mapping[str, CameraStats]:
    """Inspect until the sources end, or SIGINT or SIGTERM comes.

    Args:
        config: Checked.
        base: Paths in it are relative to this folder.

    Returns:
        What happened, by camera; nothing where it was ended before it had begun.

    Raises:
        EdgeadError: It could not begin, or could not go on; the message says why.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        manager = stack.enter_context(ServiceManager())
        metrics = _metrics(config, stack)
        starting = Starting(stop, [manager.starting, *([] if metrics is None else [metrics.starting])])
        try:
            stream = _start(config, base, stack, stop, metrics, starting)
        except StoppedWhileStartingError:
            log.info("ended before it had begun")
            return {}
        finally:
            starting.over()
        manager.ready(lambda: stream.standing_s < LOOP_STANDS_S, lambda: _in_a_line(stream))
        _follow(stream, config.log.status_every_s)
        manager.stopping()
        _say_status(stream)
        ended = stream.stats()
        for name, stats in ended.items():
            if not stop.is_set() and not stats.inspected and not stats.not_inspected:
                log.warning("%s: its source ended and gave no frame. Is the folder empty?", name)
        return ended


def _metrics(config: LoopConfig, stack: ExitStack) -> Metrics | None:
    """First of all, so that who asks for its health while it starts gets an answer."""
    if config.metrics is None:
        return None
    metrics = stack.enter_context(Metrics(config.metrics.host, config.metrics.port))
    metrics.starting("reading the detectors")
    host = config.metrics.host
    shown = f"[{host}]" if ":" in host else host
    log.info("numbers at http://%s:%d/metrics", shown, metrics.port)
    return metrics


def _start(
    config: LoopConfig,
    base: Path,
    stack: ExitStack,
    stop: threading.Event,
    metrics: Metrics | None,
    starting: Starting,
) -> Stream:
    """All that the loop needs, opened. What ``--check`` tries is the same (:mod:`.checking`)."""
    sinks = build_sinks(config, base)  # what is quickly told to be wrong comes before what takes long
    cameras = build_cameras(config, base, stack, starting)
    listeners: list[Listener] = []
    delivery: Delivery | None = None
    if sinks:
        outbox = config.outbox
        delivery = stack.enter_context(Delivery(sinks, outbox=base / outbox.path, max_mb=outbox.max_mb))
        listeners.append(delivery)
    listeners += [stack.enter_context(clips) for clips in build_clips(config, base)]
    tell = None if delivery is None else delivery.on_message
    learning = build_learning(config, base, cameras, tell, starting.lessons)
    commands = build_commands(config, cameras, learning)
    if learning is not None:
        stack.enter_context(learning)
    set_thresholds(config, cameras)
    listeners += [stack.enter_context(each) for each in commands]
    if metrics is not None:
        listeners.append(metrics)
    view: LiveView | None = None
    if config.view is not None:
        view = stack.enter_context(build_view(config.view, cameras, learning))
        listeners.append(view)
        log.info("live view at %s", view.url)
    starting("looking at the good pictures, for drift")
    drift = build_drift(config, cameras, tuple(listeners))
    if drift is not None:
        listeners.append(stack.enter_context(drift))
    stream = Stream(
        cameras,
        listeners=listeners,
        stop=stop,
        engine_timeout_s=config.engine.timeout_s,
        give_up_after=config.engine.give_up_after,
    )
    if metrics is not None:
        metrics.watch(stream, delivery)
        if drift is not None:
            metrics.also(drift.metric_lines)
        if commands:
            metrics.also(lambda: metric_lines(commands))
    if view is not None:
        view.watch(stream)
    for camera in cameras:
        for note in camera.detector.budget_notes if isinstance(camera.detector, Detector) else ():
            log.warning("%s: %s", camera.name, note)
        log.info("%s: inspecting %s", camera.name, camera.source.label)
    return stream


def _follow(stream: Stream, status_every_s: float) -> None:
    due = time.monotonic() + status_every_s
    with stream:
        for _ in stream:
            if status_every_s > 0 and time.monotonic() >= due:
                due = time.monotonic() + status_every_s
                _say_status(stream)


def _say_status(stream: Stream) -> None:
    for name, stats in stream.stats().items():
        latency = stats.latency_ms
        times = f", p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms" if latency else ""
        log.info(
            "%s: %d inspected, %d anomalous, %d dropped, %d not inspected, %d late%s",
            name,
            stats.inspected,
            stats.anomalies,
            stats.dropped,
            stats.not_inspected,
            stats.late,
            times,
        )


def _in_a_line(stream: Stream) -> str:
    """What is shown beside the service's name."""
    told = []
    for name, stats in stream.stats().items():
        wrong = f" ({', '.join(stats.troubles)})" if stats.troubles else ""
        told.append(f"{name}: {stats.inspected} inspected, {stats.anomalies} anomalous{wrong}")
    return "; ".join(told)
