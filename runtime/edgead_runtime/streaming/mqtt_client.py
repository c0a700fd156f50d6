"""A connection to an MQTT broker, as the sink and the trigger share it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from edgead_runtime.errors import ConfigError, SinkError

QOS_AT_LEAST_ONCE = 1


@dataclass(frozen=True)
class Broker:
    """Where the broker is and how to log in."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    """With the system's certificates."""
    timeout_s: float = 10.0

    @property
    def label(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


def make_client(broker: Broker, client_id: str = "") -> Any:
    """A client of paho-mqtt, not yet connected; it reconnects by itself.

    Raises:
        ConfigError: paho-mqtt is not installed.
    """
    if find_spec("paho") is None:
        raise ConfigError(
            "MQTT is asked for and paho-mqtt is not installed",
            'Install it: pip install "edgead-runtime[mqtt]".',
        )
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls:
        client.tls_set()
    client.reconnect_delay_set(1, 30)
    return client


def connect(client: Any, broker: Broker, on_connect: Callable[[], None]) -> None:
    """Connect, start the client's thread and wait until the broker accepts.

    Args:
        client: Of :func:`make_client`.
        broker: Where to.
        on_connect: Called in the client's thread after each connection, also a later one.

    Raises:
        SinkError: It does not answer or refuses.
    """
    accepted = threading.Event()
    refusal: list[str] = []

    def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            refusal.append(str(reason))
        else:
            on_connect()
        accepted.set()

    client.on_connect = connected
    try:
        client.connect(broker.host, broker.port, keepalive=15)
    except (OSError, ValueError) as error:
        raise SinkError(
            f"the broker {broker.label} cannot be reached ({error})", "It is tried again."
        ) from error
    client.loop_start()
    if not accepted.wait(broker.timeout_s) or refusal:
        client.loop_stop()
        reason = refusal[0] if refusal else "no answer"
        raise SinkError(f"the broker {broker.label} does not let us in ({reason})", "See its log.")
