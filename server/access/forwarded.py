"""What proxies say of who asks them, and how: `X-Forwarded-For`, `X-Forwarded-Proto`; of those that are named, alone."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PROTO = b"x-forwarded-proto"
PLAIN = {b"ws": b"http", b"wss": b"https"}
"""Some proxies say of a websocket what it is; the addresses that we give out are of both kinds."""


class Forwarded(ProxyHeadersMiddleware):
    """uvicorn's, which knows one scheme: of a chain of proxies each may say one, and the first is the client's."""

    def __init__(self, app: ASGIApp, proxies: tuple[str, ...]) -> None:
        super().__init__(app, list(proxies))  # type: ignore[arg-type]  # uvicorn has types of its own for the same

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        if said := b",".join(value for name, value in scope.get("headers", ()) if name == PROTO):
            first = said.partition(b",")[0].strip().lower()
            others = [header for header in scope["headers"] if header[0] != PROTO]
            scope["headers"] = [*others, (PROTO, PLAIN.get(first, first))]
        await super().__call__(scope, receive, send)  # type: ignore[arg-type]
