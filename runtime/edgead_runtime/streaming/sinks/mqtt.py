"""Messages to an MQTT broker; needs the extra ``mqtt``.

Topics, below a prefix (``edgead``):

- ``PREFIX/status``: ``online``, and ``offline`` as the last will. Retained.
- ``PREFIX/CAMERA/alarm``: ``ON`` while an event is open, else ``OFF``. Retained. ``OFF`` too where messages
  were lost, until an event that lasts is updated.
- ``PREFIX/CAMERA/KIND``: each message as JSON; kinds are ``event``, ``trouble``, ``drift``, ``learned`` and
  ``unlearned``.
- ``PREFIX/CAMERA/picture``: the worst frame of the last event, JPEG. Retained.
- ``PREFIX/loss``: what the outbox's quota took away.

Below ``CAMERA`` :mod:`~edgead_runtime.streaming.mqtt_commands` has ``command`` and ``answer``.

With ``discovery``, Home Assistant is told of the alarm and the picture of each camera
(``homeassistant/binary_sensor/...`` and ``homeassistant/image/...``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from typing import Any

from edgead_runtime.errors import SinkError
from edgead_runtime.streaming.messages import PICTURE
from edgead_runtime.streaming.mqtt_client import (
    QOS_AT_LEAST_ONCE,
    Broker,
    check_prefix,
    connect,
    disconnect,
    make_client,
)
from edgead_runtime.streaming.sinks.base import Sink
from edgead_runtime.streaming.stored import StoredMessage

log = logging.getLogger("edgead.mqtt")

_ATTEMPTS_AT_A_PICTURE = 3


class Mqtt(Sink):
    """Publishes each message with QoS 1 and waits until the broker has it.

    Args:
        broker: Where it is.
        prefix: Begins the topics; give each device its own.
        pictures: Publish the picture of each event.
        discovery: Announce cameras to Home Assistant.

    Raises:
        ConfigError: No topic can begin with the prefix.
    """

    def __init__(
        self, broker: Broker, *, prefix: str = "edgead", pictures: bool = True, discovery: bool = False
    ) -> None:
        self._broker, self._prefix = broker, check_prefix(prefix)
        self._pictures, self._discovery = pictures, discovery
        self.name = f"mqtt {broker.label}/{self._prefix}"
        self._client: Any = None
        self._open: dict[str, set[str]] = {}
        """Open events by camera."""
        self._failed_pictures, self._too_large = 0, sys.maxsize

    def open(self) -> None:
        """Connect.

        Raises:
            SinkError: The broker does not answer or refuses.
            ConfigError: paho-mqtt is not installed.
        """
        client = make_client(self._broker)
        client.will_set(f"{self._prefix}/status", "offline", QOS_AT_LEAST_ONCE, retain=True)

        def on_connect() -> None:
            # Also after a lost connection, when the broker has published our will.
            client.publish(f"{self._prefix}/status", "online", QOS_AT_LEAST_ONCE, retain=True)

        connect(client, self._broker, on_connect)
        self._client = client

    def send(self, message: StoredMessage) -> None:
        """Publish one message and what follows from it.

        Raises:
            SinkError: The broker does not confirm it.
        """
        if message.kind == "loss":
            self._publish("loss", message.as_json())
            if message.body.get("messages"):
                self._forget_open_events()
            return
        camera = message.camera
        if self._discovery and camera not in self._open:
            self._announce(camera)
        self._publish(f"{camera}/{message.kind}", message.as_json())
        if message.kind != "event":
            return
        if self._pictures and PICTURE in message.attachments:
            self._publish_picture(message)
        open_events = self._open.setdefault(camera, set())
        if message.state == "closed":
            open_events.discard(message.key)
        else:
            open_events.add(message.key)
        self._publish(f"{camera}/alarm", "ON" if open_events else "OFF", retain=True)

    def _forget_open_events(self) -> None:
        """What closed them may be among what was lost, and an alarm without an event would stay for ever.

        One that lasts says so with its next update.
        """
        for camera, open_events in self._open.items():
            if open_events:
                self._publish(f"{camera}/alarm", "OFF", retain=True)
                open_events.clear()

    def _publish_picture(self, message: StoredMessage) -> None:
        """The picture of an event, unless one as large was never taken, three times, though words were.

        Many brokers allow some hundred kilobytes, and end the connection of who sends more: that picture
        would stand in the way of all that follows.
        """
        picture = message.attachments[PICTURE]
        if len(picture) >= self._too_large:
            return
        try:
            self._publish(f"{message.camera}/picture", picture, retain=True)
        except SinkError:
            self._failed_pictures += 1
            if self._failed_pictures == _ATTEMPTS_AT_A_PICTURE:
                self._too_large, self._failed_pictures = len(picture), 0
                log.error(  # noqa: TRY400
                    "the broker %s takes no picture of %d kB: those as large are left out from now on",
                    self._broker.label,
                    len(picture) // 1000,
                )
            raise
        self._failed_pictures = 0

    def _announce(self, camera: str) -> None:
        known = f"{self._prefix}_{camera}".replace("/", "_")
        common = {
            "availability_topic": f"{self._prefix}/status",
            "device": {"identifiers": [known], "name": f"edgead {camera}"},
        }
        alarm = {
            **common,
            "name": "Anomaly",
            "unique_id": f"{known}_alarm",
            "device_class": "problem",
            "state_topic": f"{self._prefix}/{camera}/alarm",
        }
        picture = {
            **common,
            "name": "Last anomaly",
            "unique_id": f"{known}_picture",
            "content_type": "image/jpeg",
            "image_topic": f"{self._prefix}/{camera}/picture",
        }
        self._publish_to(f"homeassistant/binary_sensor/{known}/config", json.dumps(alarm), retain=True)
        self._publish_to(f"homeassistant/image/{known}/config", json.dumps(picture), retain=True)

    def _publish(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        self._publish_to(f"{self._prefix}/{topic}", payload, retain=retain)

    def _publish_to(self, topic: str, payload: str | bytes, *, retain: bool) -> None:
        if self._client is None:
            self.open()
        sent = self._client.publish(topic, payload, QOS_AT_LEAST_ONCE, retain=retain)
        try:
            sent.wait_for_publish(self._broker.timeout_s)
        except (RuntimeError, ValueError) as error:  # not connected
            raise SinkError(
                f"the broker {self._broker.label} is gone ({error})", "It is tried again."
            ) from error
        if not sent.is_published():
            raise SinkError(f"the broker {self._broker.label} confirms nothing", "It is tried again.")

    def close(self) -> None:
        """Say that we are offline, and disconnect."""
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(RuntimeError, ValueError):
            # A clean goodbye publishes no will.
            client.publish(
                f"{self._prefix}/status", "offline", QOS_AT_LEAST_ONCE, retain=True
            ).wait_for_publish(1.0)
        disconnect(client)
