"""Against a real broker, mosquitto."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import defaultdict

import numpy as np
import pytest
from edgead_runtime import stream
from edgead_runtime.errors import ConfigError, SinkError
from edgead_runtime.streaming import Delivery, mqtt_client
from edgead_runtime.streaming.mqtt_client import Broker, check_filter
from edgead_runtime.streaming.mqtt_commands import MqttCommands
from edgead_runtime.streaming.mqtt_trigger import MqttTrigger, label_of
from edgead_runtime.streaming.sinks import Mqtt
from edgead_runtime.streaming.stored import StoredMessage
from hypothesis import given
from hypothesis import strategies as st
from stream_fakes import (
    FakeCamera,
    FakeDetector,
    Recorder,
    RefusingBroker,
    frame_scoring,
    wait_until,
)


class RealBroker:
    """mosquitto on a port of its own, which can be killed and started again."""

    def __init__(self, folder, more=""):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n{more}\n")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [shutil.which("mosquitto", path=_PATH), "-c", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers)

    def _answers(self):
        with socket.socket() as trying:
            return trying.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait()

    @property
    def address(self):
        return Broker("127.0.0.1", self.port, timeout_s=2.0)


_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"


@pytest.fixture
def broker(tmp_path):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt (the extra mqtt) is not installed")
    if shutil.which("mosquitto", path=_PATH) is None:
        pytest.skip("there is no mosquitto (Debian: apt install mosquitto)")
    real = RealBroker(tmp_path)
    real.start()
    yield real
    real.stop()


@pytest.fixture
def listening(broker):
    """Payloads by topic, in order, of everything published."""
    got = defaultdict(list)
    client = mqtt_client.make_client(broker.address, "listener")
    client.on_message = lambda _c, _d, message: got[message.topic].append(message.payload)
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    mqtt_client.connect(client, broker.address, lambda: client.subscribe("#", 1))
    assert subscribed.wait(5)
    yield got
    client.disconnect()
    client.loop_stop()


FRAMES = [frame_scoring(score) for score in (0.1, 0.9, 0.9, 0.1)]


def test_events_alarm_picture_and_status_as_documented(broker, listening):
    with Delivery([Mqtt(broker.address, prefix="plant/line1", discovery=True)]) as delivery:
        list(stream(FakeDetector(), FRAMES, listeners=[delivery], name="left"))
        wait_until(lambda: len(listening["plant/line1/left/alarm"]) == 2)
        assert listening["plant/line1/status"] == [b"online"]
    wait_until(lambda: len(listening["plant/line1/status"]) == 2)
    assert listening["plant/line1/status"][-1] == b"offline"
    events = [json.loads(payload) for payload in listening["plant/line1/left/event"]]
    assert [event["state"] for event in events] == ["opened", "closed"]
    assert events[1]["score"] == pytest.approx(0.9)
    assert listening["plant/line1/left/alarm"] == [b"ON", b"OFF"]
    assert listening["plant/line1/left/picture"][-1].startswith(b"\xff\xd8")
    config = json.loads(listening["homeassistant/binary_sensor/plant_line1_left/config"][0])
    assert config["state_topic"] == "plant/line1/left/alarm"


def test_one_that_dies_leaves_its_last_will(broker, listening, tmp_path):
    code = (
        "import time\n"
        "from edgead_runtime.streaming.mqtt_client import Broker\n"
        "from edgead_runtime.streaming.sinks import Mqtt\n"
        f"Mqtt(Broker('127.0.0.1', {broker.port})).open()\n"
        "time.sleep(60)\n"
    )
    import sys

    process = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: listening["edgead/status"] == [b"online"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: listening["edgead/status"] == [b"online", b"offline"])


def test_a_broker_that_was_away_gets_all_in_order(broker):
    with Delivery([Mqtt(broker.address)], backoff_s=(0.05, 0.2)) as delivery:
        list(stream(FakeDetector(), FRAMES, listeners=[delivery]))
        wait_until(lambda: not delivery.waiting()[f"mqtt 127.0.0.1:{broker.port}/edgead"])
        broker.stop()
        list(stream(FakeDetector(), FRAMES * 3, listeners=[delivery]))
        delivery.flush()
        assert sum(delivery.waiting().values()) == 6
        broker.start()
        got = []
        client = mqtt_client.make_client(broker.address, "late-listener")
        client.on_message = lambda _c, _d, message: got.append(json.loads(message.payload))
        mqtt_client.connect(client, broker.address, lambda: client.subscribe("edgead/+/event", 1))
        wait_until(lambda: not any(delivery.waiting().values()), timeout_s=20)
        client.disconnect()
        client.loop_stop()
    # The listener may have come after the first ones; what it saw is in order and ends with the last.
    assert got[-1]["state"] == "closed"
    numbers = [(event["id"], event["state"] == "closed") for event in got]
    assert numbers == sorted(numbers)


def _told(kind, state, key="", **body):
    return StoredMessage(kind, "left", key, state, "2026-01-01T00:00:00.000Z", body)


def test_an_alarm_whose_end_was_lost_does_not_stay_for_ever(broker, listening):
    alarm = listening["edgead/left/alarm"]
    with Mqtt(broker.address) as sink:
        for key in ("ended", "lasts"):
            sink.send(_told("event", "opened", key))
        wait_until(lambda: alarm == [b"ON", b"ON"])
        sink.send(_told("loss", "closed", messages=0, updates=3, pictures=1))
        sink.send(_told("trouble", "opened", "t"))
        wait_until(lambda: listening["edgead/left/trouble"])
        assert alarm == [b"ON", b"ON"]  # no end was among those
        sink.send(_told("loss", "closed", messages=1, updates=3, pictures=1))
        wait_until(lambda: alarm[2:] == [b"OFF"])
        sink.send(_told("event", "updated", "lasts"))
        sink.send(_told("event", "closed", "lasts"))
        wait_until(lambda: alarm[3:] == [b"ON", b"OFF"])


def test_a_picture_that_is_too_large_for_the_broker_does_not_stand_in_the_way(broker, tmp_path, caplog):
    strict = RealBroker(tmp_path, "max_packet_size 3000")
    strict.start()
    try:
        sink = Mqtt(Broker("127.0.0.1", strict.port, timeout_s=0.4))
        with Delivery([sink], backoff_s=(0.02, 0.05)) as delivery:
            noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
            noise[0, 0] = 90
            list(stream(FakeDetector(), [noise, *FRAMES], listeners=[delivery]))
            wait_until(lambda: not any(delivery.waiting().values()), timeout_s=20)
            assert delivery.states[sink.name].delivered > 1
            assert 3 <= delivery.states[sink.name].failures < 6  # and not three of each
    finally:
        strict.stop()
    assert "takes no picture of" in caplog.text


def test_a_message_triggers_a_frame(broker):
    trigger = MqttTrigger(broker.address, "plc/part")
    camera = FakeCamera([[frame_scoring(0.1, number) for number in range(5000)]])
    running = stream(FakeDetector(), camera, trigger=trigger)

    def publish():
        client = mqtt_client.make_client(broker.address, "plc")
        mqtt_client.connect(client, broker.address, lambda: None)
        while not trigger._client:
            time.sleep(0.01)
        time.sleep(0.1)
        for number in range(3):
            client.publish("plc/part", f"serial {number}\n", 1).wait_for_publish(5)
            time.sleep(0.05)
        client.disconnect()
        client.loop_stop()

    threading.Thread(target=publish, daemon=True).start()
    names = []
    for result in running:
        names.append(result.frame.name)
        if len(names) == 3:
            break
    assert names == ["serial 0", "serial 1", "serial 2"]


def test_no_broker_is_down_and_without_paho_it_says_what_to_install(monkeypatch):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt (the extra mqtt) is not installed")
    with pytest.raises(SinkError, match="cannot be reached"):
        Mqtt(Broker("127.0.0.1", 1, password="secret")).open()
    monkeypatch.setattr(mqtt_client, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="paho-mqtt is not installed") as caught:
        Mqtt(Broker("127.0.0.1", 1)).open()
    assert "edgead-runtime[mqtt]" in caught.value.remedy
    assert "secret" not in repr(Broker("h", password="secret"))


@pytest.fixture
def refusing():
    pytest.importorskip("paho.mqtt", reason="paho-mqtt (the extra mqtt) is not installed")
    made = RefusingBroker()
    yield made
    made.close()


def test_a_trigger_that_may_not_listen_is_no_trigger(refusing):
    """Without a word every part would pass uninspected."""
    threads = threading.active_count()
    trigger = MqttTrigger(Broker("127.0.0.1", refusing.port, timeout_s=5.0), "plc/part")
    with pytest.raises(SinkError, match="does not let us listen on plc/part") as caught:
        list(stream(FakeDetector(), FakeCamera([FRAMES]), trigger=trigger))
    assert caught.value.remedy == "Give this user the right to read plc/part."
    assert refusing.asked == ["plc/part"]
    wait_until(lambda: threading.active_count() <= threads)


def test_a_trigger_whose_broker_went_away_is_a_trouble_until_it_is_back(broker):
    trigger = MqttTrigger(broker.address, "plc/part")
    heard = Recorder()
    camera = FakeCamera([[frame_scoring(0.1, number) for number in range(100_000)]])
    running = stream(FakeDetector(), camera, trigger=trigger, listeners=[heard])
    looping = threading.Thread(target=lambda: list(running), daemon=True)
    looping.start()
    try:
        wait_until(lambda: trigger._client is not None)
        broker.stop()
        wait_until(lambda: ("trigger lost", "opened") in heard.heard("trouble"))
        assert "is gone" in running.stats()["camera"].troubles["trigger lost"]
        broker.start()
        wait_until(lambda: ("trigger lost", "closed") in heard.heard("trouble"), timeout_s=20)
    finally:
        running.stop()
        looping.join(10)


@pytest.mark.parametrize("topic", ["plc/part", "+", "#", "plc/+/part", "plc/#", "/", "plc//part", "$share/x"])
def test_topics_to_listen_on(topic):
    assert check_filter(topic) == topic


@pytest.mark.parametrize("topic", ["", "plc/#/part", "plc+", "plc/part#", "a/+b/c", "a\0b"])
def test_what_is_no_topic_to_listen_on(topic):
    with pytest.raises(ConfigError, match="is no MQTT topic to listen on"):
        MqttTrigger(Broker("127.0.0.1"), topic)


@pytest.mark.parametrize("prefix", ["plant/#", "+/line", "", "/", "a\0b"])
def test_a_prefix_that_begins_no_topic(prefix):
    for make in (
        lambda: Mqtt(Broker("127.0.0.1"), prefix=prefix),
        lambda: MqttCommands(Broker("127.0.0.1"), prefix, ["left"], None),
    ):
        with pytest.raises(ConfigError, match="cannot begin an MQTT topic"):
            make()


@given(st.binary(max_size=500))
def test_whatever_is_sent_to_a_trigger_becomes_a_name(payload):
    label = label_of(payload)
    assert len(label) <= 200
    assert label.isprintable() or label == ""
    label.encode()
