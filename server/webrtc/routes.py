"""The addresses of WebRTC, also where aiortc is not installed: they answer 501 then, and say what to install."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.http.refusals import Refused
from server.sessions.host import Host

if TYPE_CHECKING:
    from server.webrtc.peers import Peers

PATHS = ("/v1/whip", "/v1/whip/{session_id}", "/v1/whep/{session_id}", "/v1/offer")
RESOURCE = "/v1/peers/{peer_id}"
Endpoint = Callable[[Request], Awaitable[Response]]


def missing() -> str | None:
    """What to install, in one line; None when it is there."""
    try:
        import aioice  # noqa: F401
        import aiortc  # noqa: F401
    except ImportError as error:
        return f"WebRTC needs {error.name}; install the extra: pip install 'cuestream[webrtc]'"
    return None


def routes() -> list[Route]:
    """Imports aiortc now, where it is, for that takes half a second, in which no music could be sent."""
    if said := missing():
        return [Route(path, _absent(said), methods=["POST", "OPTIONS"]) for path in PATHS]
    from server.webrtc import browser, resource, whep, whip

    posts: tuple[Endpoint, ...] = (whip.publish, whip.publish, whep.play, browser.meet)
    return [
        *(Route(path, post, methods=["POST"]) for path, post in zip(PATHS, posts, strict=True)),
        *(Route(path, resource.options, methods=["OPTIONS"]) for path in PATHS),
        Route(RESOURCE, resource.trickle, methods=["PATCH"]),
        Route(RESOURCE, resource.end, methods=["DELETE"]),
        Route(RESOURCE, resource.resource_options, methods=["OPTIONS"]),
    ]


def peers_of(host: Host) -> Peers | None:
    """A server's peers; None where aiortc is not installed."""
    if missing():
        return None
    from server.webrtc.peers import Peers

    return Peers(host)


def _absent(said: str) -> Endpoint:
    async def absent(request: Request) -> Response:
        raise Refused(501, "webrtc_off", said)

    return absent
