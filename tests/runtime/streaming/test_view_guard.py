"""Who gets into the live view, and what becomes of garbage."""

import contextlib
import http.client
import json
import logging
import socket
import time

import pytest
from edgead_runtime.errors import ConfigError
from edgead_runtime.streaming.view import LiveView, serving
from edgead_runtime.streaming.view.addresses import is_loopback
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stream_fakes import FakeDetector, frame_scoring, wait_until
from view_helpers import DirectTeacher, Looking, Stand, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

TOKEN = "a-token-of-sixteen-characters"


@pytest.fixture(scope="module")
def here():
    """On loopback, without a token."""
    stand = Stand(frame_scoring(0.1))
    detector = FakeDetector()
    with running([stand.camera("a", detector)], teacher=DirectTeacher({"a": detector})) as (view, _):
        yield view


@pytest.fixture(scope="module")
def everywhere():
    """On every address, with a token."""
    stand = Stand(frame_scoring(0.1))
    with running([stand.camera("a", FakeDetector())], host="0.0.0.0", token=TOKEN) as (view, _):
        yield view


def ask(view, path="/", method="GET", body=None, **headers):
    """Status, headers and body; header names with ``_`` for ``-``."""
    connection = http.client.HTTPConnection("127.0.0.1", view.port, timeout=5)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    got = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return got


def say(view, **headers):
    """A well-formed request that changes something, from where the headers say."""
    body = json.dumps({"camera": "a", "run": view.run, "sequence": 10**9})
    return ask(view, "/api/defect", "POST", body, **{"Content_Type": "application/json", **headers})[0]


# -- on this machine -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8675", "[::1]:80"])
def test_this_machine_by_its_names(here, host):
    assert ask(here, Host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[", "a:b:c"]
)
def test_a_name_that_was_made_to_lead_here_is_refused(here, host):
    for path in ("/", "/view.js", "/thumbnail", "/view.css"):
        assert ask(here, path, Host=host)[0] in (400, 403)


def test_only_its_own_page_may_change_something(here):
    own = f"http://127.0.0.1:{here.port}"
    assert say(here) == 410, "of a program, understood: that frame is gone"
    assert say(here, Origin=own) == 410
    assert say(here, Origin=own, Sec_Fetch_Site="same-origin") == 410
    for origin in ("http://evil.example", "null", f"http://localhost:{here.port}", "http://127.0.0.1:1", "["):
        assert say(here, Origin=origin) == 403
    assert say(here, Sec_Fetch_Site="cross-site") == 403
    assert say(here, Sec_Fetch_Site="same-site") == 403


def test_who_never_finishes_a_request_does_not_keep_others_out(here, monkeypatch):
    monkeypatch.setattr(serving, "_ASKS_WITHIN_S", 0.5)
    with contextlib.ExitStack() as stack:
        for _ in range(70):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", here.port), timeout=5))
            idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        wait_until(lambda: ask(here)[0] == 200, timeout_s=10)


def test_a_browser_that_stays_is_not_sent_away(here, monkeypatch):
    monkeypatch.setattr(serving, "_ASKS_WITHIN_S", 0.5)
    with connect(f"ws://127.0.0.1:{here.port}/live") as browser:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            browser.recv(timeout=5)


def test_a_form_is_no_request(here):
    assert say(here, Content_Type="text/plain") == 415
    assert say(here, Content_Type="application/x-www-form-urlencoded") == 415


def test_another_pages_websocket_is_refused(here):
    for origin in ("http://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            Looking(here, origin=origin)
        assert refused.value.response.status_code == 403
    with Looking(here, origin=f"http://127.0.0.1:{here.port}") as looking:
        assert looking.state()


def test_methods_and_paths_that_are_not_there(here):
    assert ask(here, "/api/good")[0] == 405
    assert ask(here, "/", "DELETE")[0] == 405
    assert ask(here, "/../view.py")[0] == 404
    assert ask(here, "/static/view.html")[0] == 404


# -- from elsewhere ------------------------------------------------------------------------------------


def test_without_the_token_there_is_a_question_and_nothing_else(everywhere):
    code, _, page = ask(everywhere)
    assert code == 401
    assert b'name="token"' in page
    assert ask(everywhere, "/view.css")[0] == 200, "what the question looks like"
    for path in ("/view.js", "/thumbnail", "/view.css/", "//", "/api/good"):
        assert ask(everywhere, path)[0] == 401
    assert say(everywhere) == 401
    with pytest.raises(InvalidStatus):
        Looking(everywhere)


def test_the_token_once_then_a_cookie(everywhere):
    code, headers, page = ask(everywhere, f"/?token={TOKEN}")
    assert (code, b"view.js" in page) == (200, True)
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    kept = cookie.split(";")[0]
    assert ask(everywhere, "/view.js", Cookie=kept)[0] == 200
    assert "set-cookie" not in ask(everywhere, "/", Cookie=kept)[1]
    with Looking(everywhere, additional_headers={"Cookie": kept}) as looking:
        assert looking.state()
    assert say(everywhere, Cookie=kept, Origin="http://evil.example") == 403


def test_a_program_brings_it_along(everywhere):
    assert ask(everywhere, "/view.js", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(everywhere, "/view.js", Authorization=f"bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\u00fc" * 30])
def test_another_token_is_none(everywhere, wrong):
    from urllib.parse import quote

    assert ask(everywhere, f"/?token={quote(wrong)}")[0] == 401
    assert ask(everywhere, "/", Authorization=f"Bearer {wrong}".encode())[0] == 401
    assert ask(everywhere, "/", Cookie=f"edgead_view_{everywhere.port}={quote(wrong)}")[0] == 401
    assert ask(everywhere, f"/view.js?token={TOKEN}")[0] == 401, "in the page's address alone"


def test_a_token_is_made_where_one_is_needed_and_told_once():
    with LiveView("0.0.0.0", 0) as open_one, LiveView("0.0.0.0", 0) as other:
        token = open_one.url.partition("?token=")[2]
        assert len(token) >= 20
        assert token not in other.url
        assert ask(open_one, f"/?token={token}")[0] == 200
    assert "token" not in LiveView().url
    assert TOKEN not in LiveView("0.0.0.0", 0, token=TOKEN).url, "who gave it knows it"
    with pytest.raises(ConfigError, match="has 5 characters"):
        LiveView(token="short")


def test_a_token_is_asked_for_on_this_machine_too_where_one_was_given():
    with LiveView(port=0, token=TOKEN) as view:
        assert ask(view)[0] == 401
        assert ask(view, f"/?token={TOKEN}", Host="evil.example")[0] == 403


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("", False), ("192.168.0.2", False), ("localhost.example", False)],
)  # fmt: skip
def test_which_addresses_are_this_machine_alone(host, loopback):
    assert is_loopback(host) == loopback


# -- garbage -------------------------------------------------------------------------------------------


def test_what_is_too_long_is_not_read(here):
    assert ask(here, "/api/good", "POST", b"x" * 5000, Content_Type="application/json")[0] == 413
    connection = socket.create_connection(("127.0.0.1", here.port), timeout=5)
    with contextlib.closing(connection):
        connection.sendall(
            b"POST /api/good HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000000000\r\n\r\n" + b"x" * 5000
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert ask(here, "/" + "x" * 100_000)[0] in (400, 404, 431)
    with Looking(here) as looking:
        looking.socket.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            looking.until(lambda got: False)


_ALIVE = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_nearly = st.fixed_dictionaries(
    {"camera": st.just("a") | _json, "run": st.just("THIS RUN") | _json},
    optional={
        "sequence": st.integers(-3, 3) | _json, "who": st.text() | _json, "lesson": st.text() | _json,
        "threshold": st.floats() | _json, "more": _json,
    },
)  # fmt: skip
_bodies = st.binary(max_size=300) | (_json | _nearly).map(lambda value: json.dumps(value).encode())


@_ALIVE
@given(path=st.sampled_from(["good", "defect", "undo", "threshold"]), body=_bodies)
@example("good", b"[" * 4000)
@example("good", b'{"camera":"a","run":"THIS RUN","sequence":' + b"9" * 4000 + b"}")
@example("undo", b'{"camera":"a","run":"THIS RUN","lesson":"\\ud800"}')
@example("good", b'{"camera":"a","run":"THIS RUN","sequence":1,"who":"\xff"}')
def test_any_body_is_answered_with_a_problem(here, caplog, path, body):
    body = body.replace(b"THIS RUN", here.run.encode())
    code, _, said = ask(here, f"/api/{path}", "POST", body, Content_Type="application/json")
    assert 400 <= code < 500, said
    assert set(json.loads(said)) == {"problem", "remedy"}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


_line = st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))


@_ALIVE
@given(
    first=_line
    | st.tuples(
        st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"\xff"]),
        st.sampled_from([b"/", b"/live", b"/thumbnail?camera=", b"/api/good", b"*", b"//"]) | _line,
    ).map(lambda parts: b" ".join([*parts, b"HTTP/1.1"])),
    headers=st.lists(
        _line
        | st.tuples(
            st.sampled_from(
                [b"Host", b"Origin", b"Cookie", b"Content-Length", b"Content-Type", b"Authorization",
                 b"Upgrade", b"Connection", b"Sec-WebSocket-Key", b"Transfer-Encoding"]
            ),
            _line | st.sampled_from([b"localhost", b"websocket", b"Upgrade", b"chunked", b"5"]),
        ).map(b": ".join),
        max_size=5,
    ),
    body=st.binary(max_size=80),
)  # fmt: skip
def test_any_bytes_are_refused_or_answered_and_the_server_lives(here, caplog, first, headers, body):
    with contextlib.closing(socket.create_connection(("127.0.0.1", here.port), timeout=5)) as connection:
        connection.sendall(b"\r\n".join([first, b"Host: localhost", *headers, b"", body]))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while len(answer) < 12 and (more := connection.recv(4096)):
                answer += more
    assert not answer or answer[9:10] in b"1234", answer
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert ask(here)[0] == 200


_wishes = _json | st.fixed_dictionaries(
    {"do": st.sampled_from(["camera", "ready", "hold", "release", "event"])},
    optional={
        "camera": _json, "run": _json, "sequence": st.integers() | _json,
        "event": st.text(max_size=300) | _json,
    },
)  # fmt: skip


@_ALIVE
@given(said=st.lists(st.binary(max_size=60) | st.text(max_size=60) | _wishes.map(json.dumps), max_size=5))
@example(["[" * 4000])
@example(['{"do":"hold","sequence":' + "9" * 400 + "}"])
def test_any_words_over_the_websocket_end_it_at_worst(here, caplog, said):
    with Looking(here) as looking, contextlib.suppress(ConnectionClosed):
        for words in said:
            looking.socket.send(words)
        looking.next()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    with Looking(here) as looking:
        assert looking.state()
