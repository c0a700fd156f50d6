"""Whether a configured loop would run here. All that a start would refuse is found, each with a line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from edgead_runtime.errors import ConfigError, EdgeadError
from edgead_runtime.service import tables
from edgead_runtime.service.build import build_view
from edgead_runtime.service.checking_camera import CameraCheck
from edgead_runtime.service.checking_places import (
    check_broker,
    check_file,
    check_lessons,
    check_outbox,
    check_port,
    check_writable,
    problem_of,
)
from edgead_runtime.service.learning import build_commands, build_learning
from edgead_runtime.service.sinks import (
    broker_of,
    build_sink,
    check_not_twice,
    check_places,
    sink_tables,
)
from edgead_runtime.streaming.cameras import Camera
from edgead_runtime.streaming.mqtt_client import Broker
from edgead_runtime.streaming.sinks import Sink


def check_loop(config: tables.LoopConfig, base: Path, say: Callable[[str], None]) -> None:
    """Say what would run, and try it: each camera's detector, its source, one frame of it, and the rest.

    Nothing is written (but what loading a detector leaves in the cache), sent or left running: sinks are
    named and not opened, since that would already tell somebody something, and of brokers only asked whether
    they let us in.

    Args:
        config: Checked.
        base: Paths in it are relative to this folder.
        say: Given each line.

    Raises:
        ConfigError: There is no camera, or something would not work; all of that was said.
    """
    if not config.camera:
        raise ConfigError("there is no camera", "Add [[camera]].")
    with ExitStack() as stack:
        checking = _Checking(config, base, stack, say)
        checking.cameras()
        checking.sinks()
        checking.pages()
        checking.learning()
    if checking.problems:
        things = "thing" if checking.problems == 1 else "things"
        raise ConfigError(f"{checking.problems} {things} would not work", "Mend what is said above.")


class _Checking:
    """Goes through the file in its order, and counts what is wrong."""

    def __init__(
        self, config: tables.LoopConfig, base: Path, stack: ExitStack, say: Callable[[str], None]
    ) -> None:
        self._config, self._base, self._stack, self._say = config, base, stack, say
        self._cameras: list[Camera] = []
        self._brokers: dict[Broker, EdgeadError | None] = {}
        self.problems = 0

    def _wrong(self, place: str, error: EdgeadError) -> None:
        self._say(f"{place}: PROBLEM: {error}")
        self.problems += 1

    def _try(self, place: str, check: Callable[[], object]) -> bool:
        error = problem_of(check)
        if error is not None:
            self._wrong(place, error)
        return error is None

    def cameras(self) -> None:
        check = CameraCheck(self._config, self._base, self._stack, self._say)
        for table in self._config.camera:
            camera, problems = check(table)
            self._cameras += [] if camera is None else [camera]
            for problem in problems:
                self._wrong(table.name, problem)

    # -- sinks -----------------------------------------------------------------------------------------

    def sinks(self) -> None:
        self._try("sinks", functools.partial(check_places, self._config, self._base))
        built: list[Sink] = []
        for place, table in sink_tables(self._config):
            try:
                sink = build_sink(table, self._base, place)
                if sink is not None:
                    check_not_twice(sink, built, place)
                    built.append(sink)
            except ConfigError as error:
                self._wrong("sinks", error)
                continue
            name = f"sink: {'clips ' + str(self._folder_of(table)) if sink is None else sink.name}"
            if self._try(name, functools.partial(self._check_sink, table)):
                self._say(name + self._remark_on(table))
        if built:
            self._outbox()

    def _folder_of(self, table: tables.SinkTable) -> Path | None:
        if isinstance(table, tables.PicturesSink | tables.ClipsSink):
            return self._base / table.folder
        return None

    def _check_sink(self, table: tables.SinkTable) -> None:
        folder = self._folder_of(table)
        if folder is not None:
            check_writable(folder)
        if isinstance(table, tables.JsonlSink | tables.CsvSink):
            check_file(self._base / table.path)

    def _remark_on(self, table: tables.SinkTable) -> str:
        """Of one that may be away: it is no problem, since its messages wait."""
        if not isinstance(table, tables.MqttSink):
            return ""
        broker = broker_of(table)
        if broker not in self._brokers:
            self._brokers[broker] = problem_of(lambda: check_broker(broker))
        error = self._brokers[broker]
        return "; its broker answers" if error is None else f"; now {error.problem}: messages would wait"

    def _outbox(self) -> None:
        path = self._base / self._config.outbox.path
        try:
            remark = check_outbox(path)
        except EdgeadError as error:
            self._wrong("outbox", error)
        else:
            self._say(f"outbox: {path}" + (f"; {remark}" if remark else ""))

    # -- pages -----------------------------------------------------------------------------------------

    def pages(self) -> None:
        metrics, view = self._config.metrics, self._config.view
        if metrics is not None and self._try(
            "[metrics]",
            lambda: check_port("the page of numbers and health", metrics.host, metrics.port, self._stack),
        ):
            self._say(f"numbers and health: http://{metrics.host}:{metrics.port}/metrics")
        if view is not None and self._try("[view]", lambda: self._check_view(view)):
            self._say(f"live view: http://{view.host}:{view.port}/")

    def _check_view(self, table: tables.ViewTable) -> None:
        build_view(table, self._cameras)
        check_port("the live view", table.host, table.port, self._stack)

    # -- learning --------------------------------------------------------------------------------------

    def learning(self) -> None:
        learning = self._config.learning
        self._try("sinks", self._check_commands)
        if learning is None:
            return
        folder = self._base / learning.folder
        if not self._try("[learning]", lambda: check_writable(folder)):
            return
        self._say(f"learning: {folder}")
        for camera in self._config.camera:
            self._try("[learning]", functools.partial(self._lessons, folder, camera.name))

    def _check_commands(self) -> None:
        build_commands(self._config, [], build_learning(self._config, self._base, []))

    def _lessons(self, folder: Path, camera: str) -> None:
        good = [entry for entry in check_lessons(folder, camera) if entry.kind == "good"]
        gone = sum(not (folder / entry.picture).is_file() for entry in good)
        if good:
            lessons = "lesson" if len(good) == 1 else "lessons"
            lost = f"; the pictures of {gone} are gone, and these cannot be" if gone else ""
            self._say(f"{camera}: {len(good)} {lessons} would be learned again{lost}")
