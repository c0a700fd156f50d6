"""Lessons over MQTT: a panel or a PLC says what the last part was; needs the extra ``mqtt``.

On ``PREFIX/CAMERA/command`` one JSON object a message:

- ``{"do": "add_good"}``: the part of the last inspected frame is good;
- ``{"do": "keep_defect"}``: it is a defect;
- ``{"do": "undo", "lesson": "..."}``: take that lesson back.

``"who"`` says who it was, ``"frame"`` (of the first two) what the frame must be called: with a trigger that
labels frames no command can meet the next part instead. The answer goes to ``PREFIX/CAMERA/answer``.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Literal

import msgspec

from edgead_runtime.errors import EdgeadError, LearningError, SinkError
from edgead_runtime.images import Picture
from edgead_runtime.json_text import UNREADABLE
from edgead_runtime.streaming.frames import CameraFrame
from edgead_runtime.streaming.lesson_facts import printable
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.mqtt_client import (
    QOS_AT_LEAST_ONCE,
    Broker,
    Subscription,
    check_prefix,
    connect,
    disconnect,
    make_client,
)
from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.sinks.prometheus_text import family, sample
from edgead_runtime.streaming.teaching import Lesson, Teacher

log = logging.getLogger("edgead.learning")

_MAX_BYTES = 4096
_WAITING = 8
_RETRY_S = (1.0, 30.0)
_LOOK_AGAIN_S = 0.2


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a message asks for."""

    do: Literal["add_good", "keep_defect", "undo"]
    who: str = "mqtt"
    frame: str | None = None
    lesson: str | None = None


def parse_command(payload: bytes) -> Command:
    """Read what anybody may have sent.

    Raises:
        LearningError: It is no command.
    """
    if len(payload) > _MAX_BYTES:
        raise LearningError("a command is too long", 'Send {"do": "add_good"}.')
    try:
        command = msgspec.json.decode(payload, type=Command)
    except UNREADABLE as error:
        raise LearningError(f"that is no command ({error})", 'Send {"do": "add_good"}.') from error
    if (command.do == "undo") != (command.lesson is not None):
        raise LearningError(
            "a lesson is named to undo it, and for nothing else", 'Send {"do": "undo", "lesson": "ID"}.'
        )
    if command.do == "undo" and command.frame is not None:
        raise LearningError("an undo is of a lesson and not of a frame", "Leave the frame out.")
    return command


class MqttCommands:
    """Takes lessons from a broker; a listener of the stream, for it keeps each camera's last inspected frame.

    A lesson is taken in a thread of its own: neither the loop nor the connection waits for it. A broker that
    is not there is tried again for ever. A context manager.

    Args:
        broker: Where it is.
        prefix: Begins the topics.
        cameras: Whose commands are listened to.
        teacher: Takes the lessons.

    Raises:
        ConfigError: No topic can begin with the prefix.
    """

    def __init__(self, broker: Broker, prefix: str, cameras: Sequence[str], teacher: Teacher) -> None:
        self._broker, self._prefix = broker, check_prefix(prefix)
        self._topics = {f"{self._prefix}/{name}/command": name for name in cameras}
        self._teacher = teacher
        self._last: dict[str, CameraFrame] = {}
        self._asked: queue.Queue[tuple[str, bytes, CameraFrame | None]] = queue.Queue(_WAITING)
        self._stop = threading.Event()
        self._client: Any = None
        self._subscription: Subscription | None = None
        self._handing_over = threading.Lock()
        self._threads: list[threading.Thread] = []

    # -- life ------------------------------------------------------------------------------------------

    def __enter__(self) -> MqttCommands:
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("commands", self._connect), ("lessons", self._work))
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._disconnect()
        for thread in self._threads:
            thread.join(self._broker.timeout_s)

    def _disconnect(self) -> None:
        with self._handing_over:
            client, self._client = self._client, None
        if client is not None:
            disconnect(client)

    def _connect(self) -> None:
        wait_s = _RETRY_S[0]
        while not self._stop.is_set():
            try:
                client = make_client(self._broker)
                client.on_message = lambda _client, _data, message: self._ask(message)
                subscription = Subscription(client, list(self._topics))
                connect(client, self._broker, subscription.ask)
            except SinkError as error:
                log.warning("no commands: %s", error)
            except EdgeadError as error:
                log.error("no commands: %s", error)  # noqa: TRY400
                return
            else:
                with self._handing_over:
                    # Whoever ends us finds the client here, or was here before: then it is ours to end.
                    if not self._stop.is_set():
                        self._client, self._subscription = client, subscription
                        return
                disconnect(client)
                return
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, _RETRY_S[1])

    @property
    def is_listening(self) -> bool:
        """Whether commands can come now: connected, and let listen on every camera's topic."""
        client, subscription = self._client, self._subscription
        if client is None or subscription is None or not client.is_connected():
            return False
        return subscription.answered.is_set() and not subscription.refused

    @property
    def refused_subscriptions(self) -> int:
        """How often the broker did not let us listen on a topic."""
        return 0 if self._subscription is None else self._subscription.refusals

    @property
    def label(self) -> str:
        """``host:port/prefix``."""
        return f"{self._broker.label}/{self._prefix}"

    # -- as a listener ---------------------------------------------------------------------------------

    def on_result(self, result: StreamResult) -> None:
        """Remember the last frame that was inspected."""
        if result.result is not None:
            self._last[result.camera] = result.frame
        else:  # what is under the camera now is not what was inspected before
            self._last.pop(result.camera, None)

    def on_message(self, message: Message) -> None:
        """Nothing."""

    # -- commands --------------------------------------------------------------------------------------

    def _ask(self, message: Any) -> None:
        """In the connection's thread: what the last frame is, is settled now."""
        camera = self._topics.get(message.topic)
        if camera is None or message.retain:  # kept by the broker, of a frame that is long gone
            return
        try:
            self._asked.put_nowait((camera, message.payload, self._last.get(camera)))
        except queue.Full:
            self._answer(camera, {"error": "too many lessons wait; send this one again later"})

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                camera, payload, frame = self._asked.get(timeout=_LOOK_AGAIN_S)
            except queue.Empty:
                continue
            try:
                lesson = self._obey(camera, parse_command(payload), frame)
            except EdgeadError as error:
                log.warning("%s: a command is refused: %s", camera, error)
                self._answer(camera, {"error": str(error)})
            except Exception as error:  # the next command may be a better one
                log.exception("%s: a command failed", camera)
                self._answer(camera, {"error": f"{type(error).__name__}: {error}"})
            else:
                self._answer(camera, {"lesson": lesson.id, "did": lesson.kind, "picture": lesson.picture})

    def _obey(self, camera: str, command: Command, frame: CameraFrame | None) -> Lesson:
        if command.lesson is not None:
            return self._teacher.undo(camera, command.lesson, command.who)
        if frame is None or frame.image is None:
            raise LearningError(f"{camera} has not inspected a frame yet", "Wait for one.")
        if command.frame is not None and command.frame != frame.name:
            raise LearningError(
                f"the last frame of {camera} is called {frame.name!r} and not {printable(command.frame)!r}",
                "Send the command before the next part.",
            )
        picture = Picture(frame.name or f"frame {frame.sequence}", frame.image)
        teach = self._teacher.add_good if command.do == "add_good" else self._teacher.keep_defect
        return teach(camera, picture, command.who)

    def _answer(self, camera: str, answer: dict[str, str]) -> None:
        client = self._client
        if client is not None:
            client.publish(f"{self._prefix}/{camera}/answer", json.dumps(answer), QOS_AT_LEAST_ONCE)


def metric_lines(commands: Sequence[MqttCommands]) -> Iterator[str]:
    """For Prometheus; from any thread."""
    yield from family("edgead_commands_up", "gauge", "1 while lessons can come over MQTT.")
    for each in commands:
        yield sample("edgead_commands_up", {"broker": each.label}, int(each.is_listening))
    name = "edgead_commands_refused_subscriptions_total"
    yield from family(name, "counter", "Topics that the broker did not let us listen on.")
    for each in commands:
        yield sample(name, {"broker": each.label}, each.refused_subscriptions)
