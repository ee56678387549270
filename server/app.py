"""The routes of a server, on one port: REST, the websocket, endless sound, metrics and the page."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from engine.player import Player
from server.access.origins import Guard, across
from server.http import endless, rest
from server.http.openapi import JSON, description
from server.http.refusals import HANDLERS
from server.http.stream_socket import stream
from server.ingest import rest as ingest
from server.ingest.standing import stand
from server.metrics import CONTENT_TYPE
from server.output import rest as outputs
from server.protocol.asyncapi import asyncapi
from server.recording import rest as recordings
from server.sessions.host import Host
from server.settings import Settings
from server.webrtc import routes as webrtc

STATIC = Path(__file__).parent / "static"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src-elem 'self' blob:",
        "worker-src blob:",
        "connect-src 'self' ws: wss:",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may load: its own files, those that its script carries as text, and a video that the user chose."""
SESSION = "/v1/sessions/{session_id}"
RECORDINGS = "/v1/recordings"
RECORDING = RECORDINGS + "/{recording_id}"


def make_app(
    player: Player[Any],
    settings: Settings,
    local: bool = True,
    fed: ingest.Feed | None = None,
    tell: Callable[[str], object] = print,
    at: str = "",
) -> Starlette:
    """local: whether it is reached by this machine's own names alone, or by the settings', which is then asked of every request.
    at: the address that is listened at, which is a name too.

    fed: what the server reads for a session of its own, from the beginning; `tell` hears how that goes.
    """
    host = Host(player, settings)
    feedings = ingest.Feedings(host)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await host.start()
        standing = asyncio.create_task(stand(feedings, fed, tell)) if fed else None
        yield
        if standing:
            standing.cancel()
        await feedings.stop()
        if app.state.peers:
            await app.state.peers.stop()
        await host.stop()

    routes = [
        Route("/", page("index.html"), middleware=SMALLER),
        Route("/obs", page("obs.html"), middleware=SMALLER),
        Route("/control", page("control.html"), middleware=SMALLER),
        Route("/v1/sessions", rest.create, methods=["POST"]),
        Route(SESSION, rest.look, methods=["GET"]),
        Route(SESSION, rest.change, methods=["PATCH"]),
        Route(SESSION, rest.end, methods=["DELETE"]),
        Route(SESSION + "/urls", rest.addresses, methods=["GET"]),
        Route(SESSION + "/audio.{ending}", endless.listen, methods=["GET"]),
        Route(SESSION + "/recording", recordings.begin, methods=["POST"]),
        Route(SESSION + "/recording", recordings.end, methods=["DELETE"]),
        Route(SESSION + "/output", outputs.begin, methods=["POST"]),
        Route(SESSION + "/output", outputs.look, methods=["GET"]),
        Route(SESSION + "/output", outputs.end, methods=["DELETE"]),
        Route(SESSION + "/ingest", ingest.begin, methods=["POST"]),
        Route(SESSION + "/ingest", ingest.look, methods=["GET"]),
        Route(SESSION + "/ingest", ingest.end, methods=["DELETE"]),
        Route(RECORDINGS, recordings.index, methods=["GET"]),
        Route(RECORDING, recordings.look, methods=["GET"]),
        Route(RECORDING + "/{name}", recordings.fetch, methods=["GET"]),
        WebSocketRoute("/v1/stream", stream),
        *webrtc.routes(),
        Route("/v1/version", rest.version),
        Route("/healthz", rest.live),
        Route("/readyz", rest.ready),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        Route("/asyncapi.json", websocket),
        Mount("/static", PAGE_FILES, middleware=SMALLER),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Guard, local=local, names=settings.names, at=at, sites=settings.origins),
            *across(settings.origins),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    app.state.host, app.state.peers, app.state.feedings = host, webrtc.peers_of(host), feedings
    return app


class PageFiles(StaticFiles):
    """A browser asks whether it has the newest: after an update it would mix the page of one version with scripts of another.

    It runs no script that is called a plain text, as Windows calls them where some program told it so.
    """

    def file_response(self, full_path: str | os.PathLike[str], *args: Any, **choices: Any) -> Response:
        response = super().file_response(full_path, *args, **choices)
        response.headers["cache-control"] = "no-cache"
        if "content-type" in response.headers:
            response.headers["content-type"] = TYPES[Path(full_path).suffix]
        return response


TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE_FILES = PageFiles(directory=STATIC)
SMALLER = [Middleware(GZipMiddleware, compresslevel=1)]
"""Of the page alone. A higher level holds up the loop, which sends music, for up to 13 ms and saves 5 KB."""


def page(name: str) -> Callable[[Request], Awaitable[Response]]:
    headers = {
        "content-security-policy": POLICY,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }

    async def hand_out(request: Request) -> Response:
        response = await PAGE_FILES.get_response(name, request.scope)
        response.headers.update(headers)
        return response

    return hand_out


async def metrics(request: Request) -> Response:
    host: Host = request.app.state.host
    return Response(host.page.text(), media_type=CONTENT_TYPE)


async def openapi(request: Request) -> Response:
    return Response(_written(description), media_type=JSON)


async def websocket(request: Request) -> Response:
    return Response(_written(asyncapi), media_type=JSON)


@cache
def _written(describe: Callable[[], dict[str, Any]]) -> bytes:
    """Once: it takes 5 and 20 ms, in which the loop sends no music, and everybody may ask."""
    return msgspec.json.encode(describe())
