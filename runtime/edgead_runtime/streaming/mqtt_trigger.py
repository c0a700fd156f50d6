"""A trigger that is a message; needs the extra ``mqtt``."""

from __future__ import annotations

import logging
from typing import Any

from edgead_runtime.errors import SinkError
from edgead_runtime.streaming.mqtt_client import (
    Broker,
    Subscription,
    check_filter,
    connect,
    disconnect,
    make_client,
)
from edgead_runtime.streaming.triggers import Trigger

log = logging.getLogger("edgead.stream")

_LABEL_CHARACTERS = 200


class MqttTrigger(Trigger):
    """Takes a frame for each message on a topic; its text becomes the frame's name.

    Args:
        broker: Where it is.
        topic: To listen on; wildcards are allowed.

    Raises:
        ConfigError: It is no topic.
    """

    def __init__(self, broker: Broker, topic: str) -> None:
        super().__init__()
        self._broker, self._topic = broker, check_filter(topic)
        self._client: Any = None
        self._subscription: Subscription | None = None
        self._gone = False

    @property
    def problem(self) -> str:
        """Why no message can come now; empty while one can."""
        if self._gone:
            return f"the broker {self._broker.label} is gone"
        refused = self._subscription.refused if self._subscription is not None else {}
        return f"the broker {self._broker.label} does not let us listen on {self._topic}" if refused else ""

    def open(self) -> None:
        """Connect and subscribe; it reconnects by itself.

        Raises:
            SinkError: The broker does not answer at the start, or does not let us listen: without it no part
                would ever be inspected.
        """
        client = make_client(self._broker)
        client.on_message = lambda _client, _data, message: self.fire(label_of(message.payload))
        client.on_disconnect = self._on_disconnect
        self._subscription = Subscription(client, [self._topic])
        try:
            connect(client, self._broker, self._on_connect)
            answered = self._subscription.answered.wait(self._broker.timeout_s)
            if not answered or self._subscription.refused:
                raise SinkError(
                    self.problem or f"the broker {self._broker.label} does not answer to a subscription",
                    f"Give this user the right to read {self._topic}.",
                )
        except SinkError:
            client.on_disconnect = None
            disconnect(client)
            raise
        self._client = client

    def _on_connect(self) -> None:
        self._gone = False
        if self._subscription is not None:
            self._subscription.ask()

    def _on_disconnect(self, *_: Any) -> None:
        self._gone = True
        log.warning("the trigger's broker %s is gone", self._broker.label)

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.on_disconnect = None
            disconnect(client)


def label_of(payload: bytes) -> str:
    """What anybody may have sent, as a name: printable, one line, not too long."""
    text = payload.decode("utf-8", errors="replace")
    return "".join(character if character.isprintable() else " " for character in text)[
        :_LABEL_CHARACTERS
    ].strip()
