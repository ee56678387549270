"""Two checks before any route: that a browser's page of another site asks nothing of us, and that we are called by our name.

Without the first, any page that somebody opens could use a server on their machine; without the second, a page could give its own
name our address.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OURSELVES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """ASGI middleware. local: only this machine's own names are answered to."""

    def __init__(self, app: ASGIApp, local: bool) -> None:
        self._app, self._local = app, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._is_foreign(headers):
            await PlainTextResponse("asked from another site\n", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        called, origin = headers.get("host", ""), headers.get("origin")
        try:
            if self._local and urlsplit(f"//{called}").hostname not in OURSELVES:
                return True
            return origin is not None and urlsplit(origin).netloc != called
        except ValueError:  # no address at all
            return True
