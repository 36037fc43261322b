"""Who may ask what: the page answers to loopback names only, and changes nothing without its token from its own origin.

A browser on this machine can be lured to send requests here by any site it visits, so: the Host must be a name of
loopback (against DNS rebinding), a request that changes something needs the token of this start in its Authorization
header (which no foreign page can read or send unasked) and, where the browser says one, an Origin that is this page's.
"""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
_SAFE_METHODS = {"GET", "HEAD"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def new_token() -> str:
    """Return a token of 128 random bits."""
    return secrets.token_urlsafe(16)


def host_of(value: str) -> str:
    """Return a Host header without its port."""
    return value.rpartition(":")[0] if value.rpartition(":")[2].isdigit() and ":" in value else value


def refusal(method: str, headers: Headers, token: str) -> tuple[int, str] | None:
    """Return the status and the words of a refusal, None for a request that may pass."""
    host = headers.get("host", "")
    if host_of(host) not in _LOOPBACK:
        return 421, "this page is served on loopback only"
    if method in _SAFE_METHODS:
        return None
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return 403, "the request comes from another origin"
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind != "Bearer" or not secrets.compare_digest(given.encode(), token.encode()):
        return 401, "the token is missing or old: open the address that `testbed dashboard` printed"
    return None


class Guard:
    """ASGI middleware that refuses, and sets the headers every answer carries."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = refusal(scope["method"], Headers(scope=scope), self._token)
        if refused is None:
            await self._app(scope, receive, sealed)
        else:
            await JSONResponse({"error": refused[1]}, refused[0])(scope, receive, sealed)
