"""Checks of every request (own host names, GET alone) and the security headers of every response.

The form of `label` also takes POST, from its own page alone: the request must name the form's own origin and its token,
which another page can neither send nor read, and its body must be JSON.

Every page that the same browser shows can reach a server on loopback. Such a page can send requests and, by rebinding
its own name to 127.0.0.1, even read the responses; but then the Host header has that name.
"""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOKEN = "X-Safescape-Token"
"""The header in which the form's page sends its token."""
_NOTHING = "default-src 'none'"


def own_hosts(port: int) -> frozenset[str]:
    """Return the values that are accepted in a Host header."""
    return frozenset(f"{name}:{port}" for name in _NAMES) | (frozenset(_NAMES) if port == 80 else frozenset())


class Guard:
    """Middleware that refuses requests to other hosts and other methods, and adds the security headers."""

    def __init__(self, app: ASGIApp, port: int, token: str = "") -> None:
        self._app = app
        self._hosts = own_hosts(port)
        self._token = token
        """Empty: no POST is taken."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def harden(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                policy = headers.get("Content-Security-Policy", _NOTHING)
                headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'none'"
            await send(message)

        app = self._app
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            app = PlainTextResponse(
                "This server answers to localhost alone; open the address that it printed.\n", status_code=403
            )
        elif scope["method"] == "POST" and self._token:
            if not self._is_own_post(Headers(scope=scope)):
                app = PlainTextResponse("A label is taken from this form's own page alone; reload it.\n", 403)
        elif scope["method"] != "GET":
            app = PlainTextResponse(
                "This server only shows runs; it takes GET.\n", status_code=405, headers={"Allow": "GET"}
            )
        await app(scope, receive, harden)

    def _is_own_post(self, headers: Headers) -> bool:
        """Whether a POST comes from this server's own page."""
        origin = headers.get("origin", "").lower()
        return (
            origin in {f"http://{host}" for host in self._hosts}
            and headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
            and secrets.compare_digest(headers.get(TOKEN, "").encode(), self._token.encode())
        )
