"""A trigger that is a message; needs the extra ``mqtt``."""

from __future__ import annotations

import logging
from typing import Any

from edgead_runtime.streaming.mqtt_client import QOS_AT_LEAST_ONCE, Broker, connect, make_client
from edgead_runtime.streaming.triggers import Trigger

log = logging.getLogger("edgead.stream")

_LABEL_CHARACTERS = 200


class MqttTrigger(Trigger):
    """Takes a frame for each message on a topic; its text becomes the frame's name.

    Args:
        broker: Where it is.
        topic: To listen on; wildcards are allowed.
    """

    def __init__(self, broker: Broker, topic: str) -> None:
        super().__init__()
        self._broker, self._topic = broker, topic
        self._client: Any = None

    def open(self) -> None:
        """Connect and subscribe; it reconnects by itself.

        Raises:
            SinkError: The broker does not answer at the start: without it no part would ever be inspected.
        """
        client = make_client(self._broker)
        client.on_message = lambda _client, _data, message: self.fire(label_of(message.payload))
        client.on_disconnect = lambda *_: log.warning("the trigger's broker %s is gone", self._broker.label)
        connect(client, self._broker, lambda: client.subscribe(self._topic, QOS_AT_LEAST_ONCE))
        self._client = client

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.on_disconnect = None
            client.disconnect()
            client.loop_stop()


def label_of(payload: bytes) -> str:
    """What anybody may have sent, as a name: printable, one line, not too long."""
    text = payload.decode("utf-8", errors="replace")
    return "".join(character if character.isprintable() else " " for character in text)[
        :_LABEL_CHARACTERS
    ].strip()
