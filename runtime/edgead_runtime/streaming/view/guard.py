"""Who may come in: the token, the names that this server goes by, and requests of other sites' pages."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgead_runtime.streaming.view.addresses import is_loopback

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_TOKEN_PARAMETER = "token"  # noqa: S105  (its name)
_COOKIE_DAYS = 30
_HEADERS = {
    # Everything comes from here, nothing may be put into a frame of another page, nothing is cached.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_ASK = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>edgead</title>
<link rel="stylesheet" href="view.css"><main class="ask"><h1>edgead</h1>
<p>This page needs the token of the loop: the one in its configuration, else the one that it logged at its
start.</p>
<form action="./" method="get"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button class="primary">Open</button></form></main></html>"""


class Guard:
    """Around the application.

    On loopback a request must name this machine as its host: a page of another site whose name was made to
    lead here (DNS rebinding) says its own. Elsewhere nobody comes in without the token; then a name that was
    made to lead here brings no cookie. A request that changes something, and a WebSocket, must come from this
    server's own page.

    Args:
        app: What is guarded.
        host: Where the server listens.
        port: Its port; cookies know none, so it is part of the cookie's name.
        token: What who comes in must know; ``None``: nothing.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None) -> None:
        self._app, self._token = app, token
        self._names = _LOOPBACK_NAMES | {host.lower()} if is_loopback(host) else None
        self._cookie = f"edgead_view_{port}"
        # Not the token itself: a cookie goes to whatever else answers under this host's name.
        self._pass = "" if token is None else hashlib.sha256(f"edgead view {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        connection = HTTPConnection(scope)
        refusal = self._refusal(connection)
        admitted = refusal is None and self._is_known(connection)
        token_given = refusal is None and not admitted and self._brings_token(connection)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if token_given:
                    headers.append("Set-Cookie", self._set_cookie(connection))
            await send(message)

        if refusal is None and (admitted or token_given or scope["path"] == "/view.css"):
            await self._app(scope, receive, sending)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not admitted"})
        else:
            await (refusal or HTMLResponse(_ASK, 401))(scope, receive, sending)

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        hosts = connection.headers.getlist("host")
        if len(hosts) != 1:
            return PlainTextResponse("one Host header is needed\n", 400)
        if self._names is not None and _name_of(hosts[0]) not in self._names:
            return PlainTextResponse("this server does not go by that name; use localhost\n", 403)
        if connection.scope["type"] == "http" and connection.scope["method"] in _SAFE_METHODS:
            return None
        origins = connection.headers.getlist("origin")
        from_here = all(_place_of(origin) == hosts[0].lower() for origin in origins)
        site = connection.headers.get("sec-fetch-site", "same-origin")
        if not from_here or site not in ("same-origin", "none"):
            return PlainTextResponse("only this server's own page may ask for that\n", 403)
        return None

    def _is_known(self, connection: HTTPConnection) -> bool:
        if self._token is None:
            return True
        scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), self._token):
            return True
        return _same(connection.cookies.get(self._cookie, ""), self._pass)

    def _brings_token(self, connection: HTTPConnection) -> bool:
        """In the address, as it was printed; only the page itself may be opened so."""
        given = connection.query_params.get(_TOKEN_PARAMETER, "")
        is_page = connection.scope["type"] == "http" and connection.scope["path"] == "/"
        return is_page and self._token is not None and _same(given, self._token)

    def _set_cookie(self, connection: HTTPConnection) -> str:
        secure = "; Secure" if connection.scope["scheme"] == "https" else ""
        age_s = _COOKIE_DAYS * 86400
        return f"{self._cookie}={self._pass}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"


def _same(given: str, wanted: str) -> bool:
    """In a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
