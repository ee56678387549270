"""Two checks before any route: that a browser's page of another site asks nothing of us, and that we are called by our name.

Without the first, any page that somebody opens could use a server on their machine; without the second, a page could give its own
name our address. Sites that the operator names may ask, and are told so as browsers want it (CORS).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import URL, Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.protocol.errors import API, error_body

OURSELVES = frozenset({"localhost", "127.0.0.1", "::1"})
PROBES = frozenset({"/healthz", "/readyz"})
NO_ADDRESS = "that is no address"
SITE = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?")
USUAL_PORTS = {"http": ":80", "https": ":443"}
"""Which a browser leaves out."""
METHODS = ("GET", "POST", "PATCH", "DELETE")
ASKED_WITH = ("authorization", "content-type", "if-match")
ANSWERED_WITH = ("cuestream-session", "etag", "link", "location", "retry-after")


def plain(name: str) -> str:
    """A host in one way of writing it: small, without a dot at its end, an address in its shortest form and without brackets."""
    name = name.lower().removesuffix(".").removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def origin_of(site: str) -> str:
    """Where a page is from, as browsers say it. Raises ValueError for what is no site; `null` is none: any page may say that."""
    found = SITE.fullmatch(site.lower())
    if not found:
        raise ValueError(
            f"--origin takes a site such as https://music.example or http://localhost:5173, not {site!r}"
        )
    scheme, host, port = found.groups("")
    host = f"[{plain(host)}]" if host.startswith("[") else host
    return f"{scheme}://{host}{'' if port == USUAL_PORTS.get(scheme) else port}"


def across(sites: Collection[str]) -> list[Middleware]:
    """What lets the pages of these sites read our answers, also those of a server in their user's network. We have no cookies."""
    origins = [*map(origin_of, sites)]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=ASKED_WITH,
        expose_headers=ANSWERED_WITH,
        allow_private_network=True,
    )
    return [cors] if origins else []


def is_host(called: str) -> bool:
    """Whether it is a host, with a port or without: for what is none, Starlette takes the address that we listen at."""
    scope = {"path": "/", "headers": [(b"host", called.encode("latin-1"))]}
    return URL(scope=scope).netloc == called


def _refusal(why: str, path: str) -> Response:
    status, code = (400, "bad_request") if why == NO_ADDRESS else (403, "forbidden")
    if path.startswith(API):
        return JSONResponse(error_body(code, why), status)
    return PlainTextResponse(why + "\n", status)


class Guard:
    """ASGI middleware. local: only this machine's own names are answered to, the address that is listened at (`at`), and `names`,
    those that a proxy is called by. sites: those whose pages may ask.

    A proxy may call us by our own name: its pages are no other site's. Who asks whether the server lives calls it as they like.
    """

    def __init__(
        self, app: ASGIApp, local: bool, names: Iterable[str] = (), at: str = "", sites: Iterable[str] = ()
    ) -> None:
        self._app, self._names = app, frozenset(map(plain, names))
        self._origins = frozenset(map(origin_of, sites))
        ours = OURSELVES | self._names | ({plain(at)} if at else set())
        self._answered = ours if local or self._names else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if why := self._why_not(headers, scope["path"]):
            await _refusal(why, scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _why_not(self, headers: Headers, path: str) -> str | None:
        called, origin = headers.get("host", ""), headers.get("origin")
        try:
            host = urlsplit(f"//{called}").hostname
            site = None if origin is None else urlsplit(origin)
        except ValueError:
            return NO_ADDRESS
        if not (path in PROBES or is_host(called)):
            return NO_ADDRESS
        known = self._answered is None or path in PROBES or plain(host or "") in self._answered
        if not known:
            return f"this server is not called {host or 'nothing'}; where a proxy is, see --name"
        if site is None or site.netloc == called or plain(site.hostname or "") in self._names:
            return None
        return (
            None
            if origin in self._origins
            else "asked from another site; where its pages may ask, see --origin"
        )
