"""A connection to an MQTT broker, as the sink, the trigger and the commands share it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from edgead_runtime.errors import ConfigError, SinkError

log = logging.getLogger("edgead.mqtt")

QOS_AT_LEAST_ONCE = 1
_WILDCARDS = frozenset("#+\0")


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


def check_prefix(prefix: str) -> str:
    """What topics begin with, without slashes at its ends.

    Raises:
        ConfigError: No topic can begin so.
    """
    stripped = prefix.strip("/")
    if not stripped or set(stripped) & _WILDCARDS or not stripped.isprintable():
        raise ConfigError(
            f"{prefix!r} cannot begin an MQTT topic: messages are sent to a topic and not to many",
            "Give a prefix without # and +, e.g. plant/line1.",
        )
    return stripped


def check_filter(topic: str) -> str:
    """A topic to listen on; ``+`` stands for one level of it, ``#`` at its end for all that follow.

    Raises:
        ConfigError: No broker would take it.
    """
    levels = topic.split("/")
    fits = all(not set(level) & _WILDCARDS or level == "+" for level in levels[:-1])
    last = levels[-1]
    fits = fits and (not set(last) & _WILDCARDS or last in ("+", "#"))
    if not topic or not fits:
        raise ConfigError(
            f"{topic!r} is no MQTT topic to listen on",
            "Give one like plc/part; + stands for a whole level, and # for all that follow, at the end.",
        )
    return topic


def require_paho() -> None:
    """Look whether paho-mqtt is installed.

    Raises:
        ConfigError: It is not.
    """
    if find_spec("paho") is None:
        raise ConfigError(
            "MQTT is asked for and paho-mqtt is not installed",
            'Install it: pip install "edgead-runtime[mqtt]".',
        )


def make_client(broker: Broker, client_id: str = "") -> Any:
    """A client of paho-mqtt, not yet connected; it reconnects by itself.

    Raises:
        ConfigError: paho-mqtt is not installed.
    """
    require_paho()
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
    answered = threading.Event()
    refusal: list[str] = []

    def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            refusal.clear()
            on_connect()
        elif not refusal:  # once; it is tried again every 30 s, perhaps for weeks
            refusal.append(str(reason))
            if answered.is_set():  # a password that was changed meanwhile
                log.warning("the broker %s does not let us in any more (%s)", broker.label, reason)
        answered.set()

    client.on_connect = connected
    try:
        client.connect(broker.host, broker.port, keepalive=15)
    except (OSError, ValueError) as error:
        raise SinkError(
            f"the broker {broker.label} cannot be reached ({error})", "It is tried again."
        ) from error
    client.loop_start()
    if not answered.wait(broker.timeout_s) or refusal:
        disconnect(client)
        reason = next(iter(refusal), "no answer")
        raise SinkError(f"the broker {broker.label} does not let us in ({reason})", "See its log.")


def disconnect(client: Any) -> None:
    """Say goodbye and end the client's thread; of a client in whatever state."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        client.disconnect()
    client.loop_stop()


class Subscription:
    """What a client listens on, and what the broker says to that. Subscribes anew at each connection.

    Args:
        client: Of :func:`make_client`, not yet connected; its ``on_subscribe`` is used.
        topics: To listen on.
    """

    def __init__(self, client: Any, topics: Sequence[str]) -> None:
        self._client, self._topics = client, tuple(topics)
        self._asked: dict[int, str] = {}
        self._lock = threading.Lock()
        self.answered = threading.Event()
        """Set once the broker has answered for every topic."""
        self.refused: dict[str, str] = {}
        """Topics that the broker does not let us listen on, and why."""
        self.refusals = 0
        """How often it did not."""
        client.on_subscribe = self._on_subscribe

    def ask(self) -> None:
        """Subscribe; to be called after each connection."""
        with self._lock:  # or an answer could come before its number is known
            self._asked = {}
            for topic in self._topics:
                _, number = self._client.subscribe(topic, QOS_AT_LEAST_ONCE)
                if number is not None:
                    self._asked[number] = topic

    def _on_subscribe(self, _client: Any, _data: Any, number: int, reasons: Any, _properties: Any) -> None:
        with self._lock:
            topic = self._asked.pop(number, None)
            if topic is None:
                return
            failed = [str(reason) for reason in reasons if reason.is_failure]
            if failed:
                self.refusals += 1
                if topic not in self.refused:
                    log.error(
                        "the broker does not let us listen on %s (%s): see its rights", topic, failed[0]
                    )
                self.refused[topic] = failed[0]
            else:
                self.refused.pop(topic, None)
            if not self._asked:
                self.answered.set()
