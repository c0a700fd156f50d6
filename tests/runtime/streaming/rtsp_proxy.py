"""A bad network between a camera and the loop: a TCP proxy that loses, damages, garbles or cuts.

RTSP over TCP carries RTP packets between its answers, each as ``$``, a channel, and a length of two bytes
(RFC 2326, section 10.12). So a lost packet can be made as it is on a network with UDP, by leaving a whole one
out: the stream stays readable and the decoder misses a piece of a picture.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

_DOLLAR = ord("$")
_RTP_CHANNELS = (0, 2)
"""Even ones carry the picture, odd ones reports."""
_HEADER_BYTES = 12


@dataclass
class Network:
    """What happens to what the camera sends. Change it while it runs."""

    lose: float = 0.0
    """Share of the RTP packets that never arrive."""
    damage: float = 0.0
    """Share of the RTP packets of which one byte after the header is another."""
    inject: bytes = b""
    """Put in once, between two packets."""
    done: dict[str, int] = field(default_factory=lambda: {"lost": 0, "damaged": 0, "injected": 0})
    random: random.Random = field(default_factory=lambda: random.Random(0))

    def passed_on(self, packet: bytes) -> bytes:
        """What arrives of a packet, header included."""
        if self.inject:
            garbage, self.inject = self.inject, b""
            self.done["injected"] += 1
            return garbage + packet
        if packet[1] not in _RTP_CHANNELS:
            return packet
        if self.random.random() < self.lose:
            self.done["lost"] += 1
            return b""
        if self.random.random() < self.damage and len(packet) > 4 + _HEADER_BYTES:
            self.done["damaged"] += 1
            place = self.random.randrange(4 + _HEADER_BYTES, len(packet))
            return packet[:place] + bytes([packet[place] ^ 0xFF]) + packet[place + 1 :]
        return packet


class Proxy:
    """Listens on :attr:`port` and passes on to a camera's; a context manager."""

    def __init__(self, target: int) -> None:
        self._target, self.network = target, Network()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """End every connection at once, as a cable that is pulled and a switch that says so."""
        with self._lock:
            cut, self._connections = self._connections, []
        for connection in cut:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                camera = socket.create_connection(("127.0.0.1", self._target), 2)
            except OSError:
                client.close()
                continue
            camera.settimeout(None)
            with self._lock:
                self._connections += [client, camera]
            for work in (
                lambda c=client, s=camera: _copy(c, s),
                lambda c=client, s=camera: self._bring(s, c),
            ):
                threading.Thread(target=_quietly, args=(work, client, camera), daemon=True).start()

    def _bring(self, camera: socket.socket, client: socket.socket) -> None:
        """From the camera, packet by packet; its answers in between pass as they are."""
        waiting = b""
        while more := camera.recv(65536):
            waiting += more
            while waiting:
                if waiting[0] == _DOLLAR:
                    length = (
                        4 + int.from_bytes(waiting[2:4], "big") if len(waiting) >= 4 else len(waiting) + 1
                    )
                    if len(waiting) < length:
                        break
                    packet, waiting = waiting[:length], waiting[length:]
                    client.sendall(self.network.passed_on(packet))
                else:
                    end = waiting.find(b"\r\n\r\n")
                    if end < 0:
                        break
                    length = end + 4 + _body_length(waiting[:end])
                    if len(waiting) < length:
                        break
                    client.sendall(waiting[:length])
                    waiting = waiting[length:]


def _body_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _copy(source: socket.socket, sink: socket.socket) -> None:
    while data := source.recv(65536):
        sink.sendall(data)


def _quietly(work: Callable[[], None], *connections: socket.socket) -> None:
    try:
        with contextlib.suppress(OSError):
            work()
    finally:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextlib.contextmanager
def babbling(port: int):
    """A server on this port that answers everything with random bytes."""
    listening = socket.create_server(("127.0.0.1", port))
    noise = random.Random(1)
    answered = []

    def answer() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(2)
                client.recv(4096)
                client.sendall(noise.randbytes(3000))
                answered.append(True)

    threading.Thread(target=answer, daemon=True).start()
    try:
        yield answered
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
