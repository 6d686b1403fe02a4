"""What every request must be and every answer says: own host names, reading alone, and a browser that trusts nothing.

A server on loopback is within reach of every page that the same browser shows. Such a page may send requests, and by
rebinding its own name to 127.0.0.1 it may even read the answers; but then the Host header has that name.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "own_hosts"]

_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_NOTHING = "default-src 'none'"


def own_hosts(port: int) -> frozenset[str]:
    """Return what a Host header may say."""
    return frozenset(f"{name}:{port}" for name in _NAMES) | (frozenset(_NAMES) if port == 80 else frozenset())


class Guard:
    """Refuses what is not asked of this server, and hardens what it answers."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = own_hosts(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
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
        elif scope["method"] != "GET":
            app = PlainTextResponse(
                "This server only shows runs; it takes GET.\n", status_code=405, headers={"Allow": "GET"}
            )
        await app(scope, receive, harden)
