"""Lessons over a real broker, mosquitto; and whatever else may come over one."""

import contextlib
import json
import logging
import threading
from types import SimpleNamespace

import pytest
from edgead_runtime import stream
from edgead_runtime.errors import LearningError
from edgead_runtime.streaming import mqtt_client, mqtt_commands
from edgead_runtime.streaming.mqtt_client import Broker
from edgead_runtime.streaming.mqtt_commands import MqttCommands, metric_lines, parse_command
from edgead_runtime.streaming.teaching import Lesson
from hypothesis import example, given
from hypothesis import strategies as st
from stream_fakes import FakeDetector, frame_scoring, wait_until
from test_mqtt import broker, listening, refusing  # noqa: F401  (fixtures)


class Pupil:
    """A teacher that writes down what it is asked for."""

    def __init__(self):
        self.asked = []

    def _lesson(self, what, camera, detail, who):
        self.asked.append((what, camera, detail, who))
        if detail == "no":
            raise LearningError("it cannot be learned", "Try another.")
        return Lesson(f"id-{len(self.asked)}", camera, what, 0.0, who, str(detail))

    def add_good(self, camera, picture, who):
        return self._lesson("good", camera, (picture.name, int(picture.frame[0, 0, 0])), who)

    def keep_defect(self, camera, picture, who):
        return self._lesson("defect", camera, picture.name, who)

    def undo(self, camera, lesson_id, who):
        return self._lesson("undo", camera, lesson_id, who)

    def lessons(self, camera, limit=50):
        return []


def _publish(broker, topic, payload, **options):  # noqa: F811
    client = mqtt_client.make_client(broker.address)
    mqtt_client.connect(client, broker.address, lambda: None)
    client.publish(topic, payload, 1, **options).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()


def _ready(commands, broker, listening):  # noqa: F811
    """Once it answers, it is subscribed."""

    def answers():
        _publish(broker, "plant/left/command", b"ready?")
        return bool(listening["plant/left/answer"])

    wait_until(answers, timeout_s=20)
    listening["plant/left/answer"].clear()


def test_the_last_inspected_frame_is_taught(broker, listening):  # noqa: F811
    pupil = Pupil()

    def answers():
        """But for those to what only asked whether it is there."""
        told = map(json.loads, listening["plant/left/answer"])
        return [answer for answer in told if "no command" not in answer.get("error", "")]

    with MqttCommands(broker.address, "plant", ["left", "right"], pupil) as commands:
        _ready(commands, broker, listening)
        _publish(broker, "plant/left/command", b'{"do": "add_good"}')
        wait_until(lambda: len(answers()) == 1)
        frames = [frame_scoring(0.1), frame_scoring(0.7)]
        list(stream(FakeDetector(), frames, listeners=[commands], name="left"))
        for number, payload in enumerate(
            (
                {"do": "add_good", "who": "panel 3"},
                {"do": "keep_defect"},
                {"do": "undo", "lesson": "id-1"},
                {"do": "undo", "lesson": "no"},
                {"do": "add_good", "frame": "serial 9"},
            )
        ):
            _publish(broker, "plant/left/command", json.dumps(payload))
            wait_until(lambda so_many=number + 2: len(answers()) == so_many)
    assert pupil.asked == [
        ("good", "left", ("frame 1", 70), "panel 3"),
        ("defect", "left", "frame 1", "mqtt"),
        ("undo", "left", "id-1", "mqtt"),
        ("undo", "left", "no", "mqtt"),
    ]
    nothing_yet, good, _, _, refused, other = answers()
    assert "has not inspected a frame yet" in nothing_yet["error"]
    assert good == {"lesson": "id-1", "did": "good", "picture": "('frame 1', 70)"}
    assert refused["error"] == "it cannot be learned. Try another."
    assert "is called '' and not 'serial 9'" in other["error"]


def test_a_command_that_the_broker_kept_is_of_a_frame_long_gone(broker, listening):  # noqa: F811
    _publish(broker, "plant/left/command", b'{"do": "undo", "lesson": "x"}', retain=True)
    pupil = Pupil()
    with MqttCommands(broker.address, "plant", ["left"], pupil) as commands:
        _ready(commands, broker, listening)
    assert pupil.asked == []


def test_it_waits_for_a_broker_that_comes_later(broker, listening, monkeypatch, caplog):  # noqa: F811
    monkeypatch.setattr("edgead_runtime.streaming.mqtt_commands._RETRY_S", (0.1, 0.2))
    broker.stop()
    with (
        caplog.at_level(logging.WARNING, "edgead.learning"),
        MqttCommands(broker.address, "plant", ["left"], Pupil()) as commands,
    ):
        wait_until(lambda: "no commands: the broker" in caplog.text)
        broker.start()
        wait_until(lambda: commands._client is not None and commands._client.is_connected(), timeout_s=20)


def test_without_a_broker_it_ends_at_once():
    pytest.importorskip("paho.mqtt", reason="paho-mqtt (the extra mqtt) is not installed")
    with MqttCommands(Broker("127.0.0.1", 1), "plant", ["left"], Pupil()):
        pass


def test_that_nobody_may_listen_is_logged_and_counted(refusing, caplog):  # noqa: F811
    address = Broker("127.0.0.1", refusing.port)
    with (
        caplog.at_level(logging.ERROR, "edgead.mqtt"),
        MqttCommands(address, "plant", ["left", "right"], Pupil()) as commands,
    ):
        wait_until(lambda: commands.refused_subscriptions == 2)
        assert not commands.is_listening
        text = "\n".join(metric_lines([commands]))
    assert "does not let us listen on plant/left/command" in caplog.text
    labels = f'{{broker="127.0.0.1:{refusing.port}/plant"}}'
    assert f"edgead_commands_up{labels} 0" in text
    assert f"edgead_commands_refused_subscriptions_total{labels} 2" in text


def test_while_they_may_it_says_so(broker):  # noqa: F811
    with MqttCommands(broker.address, "plant", ["left"], Pupil()) as commands:
        wait_until(lambda: commands.is_listening)
        assert commands.refused_subscriptions == 0
        broker.stop()
        wait_until(lambda: not commands.is_listening)
        broker.start()
        wait_until(lambda: commands.is_listening, timeout_s=20)


def test_one_that_ends_while_it_connects_leaves_no_client_behind(broker, monkeypatch):  # noqa: F811
    connecting, go_on, clients = threading.Event(), threading.Event(), []
    connect = mqtt_commands.connect

    def slowly(client, *rest):
        clients.append(client)
        connecting.set()
        assert go_on.wait(10)
        connect(client, *rest)

    monkeypatch.setattr(mqtt_commands, "connect", slowly)
    threads = threading.active_count()
    commands = MqttCommands(broker.address, "plant", ["left"], Pupil())
    with commands:
        assert connecting.wait(10)
        threading.Timer(0.3, go_on.set).start()  # when it has been told to end
    wait_until(lambda: threading.active_count() <= threads)
    assert not clients[0].is_connected()


def test_more_than_can_wait_is_refused_and_said():
    commands = MqttCommands(Broker("127.0.0.1", 1), "plant", ["left"], Pupil())
    told = []
    commands._client = SimpleNamespace(publish=lambda topic, payload, qos: told.append((topic, payload)))
    message = SimpleNamespace(topic="plant/left/command", payload=b"{}", retain=False)
    for _ in range(10):
        commands._ask(message)
    assert (
        told == [("plant/left/answer", json.dumps({"error": told and json.loads(told[0][1])["error"]}))] * 2
    )
    assert "too many lessons wait" in told[0][1]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"add_good",
        b"{}",
        b'{"do": "shutdown"}',
        b'{"do": "add_good", "lesson": "x"}',
        b'{"do": "undo"}',
        b'{"do": "undo", "lesson": "x", "frame": "y"}',
        b'{"do": "add_good", "path": "/etc"}',
        b'{"do": "add_good", "who": 3}',
        b'{"do": "add_good"}' + b" " * 5000,
    ],
)
def test_what_is_no_command(payload):
    with pytest.raises(LearningError):
        parse_command(payload)


@given(st.binary(max_size=300))
@example(b"[" * 4000)
@example(b'{"do": "add_good", "who": "\xff"}')
def test_whatever_is_sent_is_a_command_or_an_error_of_ours(payload):
    with contextlib.suppress(LearningError):
        parse_command(payload)


@given(
    st.dictionaries(
        st.sampled_from(["do", "who", "frame", "lesson", "x"]),
        st.one_of(st.none(), st.integers(), st.text(max_size=8), st.sampled_from(["add_good", "undo"])),
    )
)
def test_whatever_the_fields_hold(fields):
    with contextlib.suppress(LearningError):
        command = parse_command(json.dumps(fields).encode())
        assert (command.do == "undo") == (command.lesson is not None)
