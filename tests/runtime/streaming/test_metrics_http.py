"""The metrics' port, asked by whatever can reach it."""

import contextlib
import logging
import socket
import struct
import urllib.request

import pytest
from edgead_runtime.streaming.sinks.metrics import Metrics
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def metrics():
    with Metrics(port=0) as metrics:
        yield metrics


def is_well(metrics):
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=5) as answer:
        return b"edgead_frames_inspected_total" in answer.read()


def send(metrics, data):
    """The beginning of the answer to these bytes."""
    answer = b""
    connection = socket.create_connection(("127.0.0.1", metrics.port), timeout=5)
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while len(answer) < 12 and (more := connection.recv(4096)):
            answer += more
    return answer


_words = st.sampled_from(
    [b"GET", b"POST", b"/metrics", b"/readyz?x=1", b"HTTP/1.1", b"HTTP/9", b"*", b"\xff"]
)
_line = st.lists(_words | st.binary(max_size=20), max_size=4).map(b" ".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(_line, min_size=1, max_size=4))
@example([b"GET /" + b"x" * 70_000 + b" HTTP/1.1"])
@example([b"GET /metrics HTTP/1.1", *[b"a: b"] * 200])
@example([b"POST /metrics HTTP/1.1", b"Content-Length: 99999999999999999999"])
def test_any_bytes_are_refused_or_answered_and_the_server_lives(metrics, capfd, caplog, lines):
    answer = send(metrics, b"\r\n".join([*lines, b"", b""]))
    assert b" 500" not in answer
    assert is_well(metrics)
    assert "Traceback" not in capfd.readouterr().err
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_whoever_hangs_up_in_the_middle_is_not_in_the_log(metrics, capfd, caplog):
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", metrics.port), timeout=5)
        # Closing sends a reset, not an end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET /metr")
        connection.close()
    assert is_well(metrics)
    assert capfd.readouterr().err == ""
    assert not caplog.records
