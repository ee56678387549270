"""A peer's own address, /v1/peers/{peer}: candidates that are trickled, and its end. As RFC 9725 has it, for players too."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.access.secrets import bearer
from server.http.refusals import Refused
from server.webrtc.asking import SDP, peers_of, text_of
from server.webrtc.fragments import MEDIA_TYPE, read
from server.webrtc.offers import Unfit
from server.webrtc.peer import Peer

RESTART = "*"
"""What `If-Match` is when a client wants ICE to begin anew."""


async def trickle(request: Request) -> Response:
    """PATCH."""
    peer, peers = _peer(request), peers_of(request)
    text = await text_of(request, MEDIA_TYPE, peers.host.settings.peers.sdp_bytes)
    try:
        fragment = read(text)
    except Unfit as error:
        raise peers.unfit(error) from None
    tag = request.headers.get("if-match")
    if tag is None:
        raise Refused(428, "bad_request", "If-Match is needed, with the ETag of the answer to the offer")
    if tag == RESTART or fragment.ufrag not in (None, peer.offer.ufrag):
        raise Refused(422, "bad_request", "ICE is not restarted here; make another offer")
    if tag != peer.etag:
        raise Refused(412, "bad_request", "If-Match is not the ETag of the answer to the offer")
    await peer.trickle(fragment)
    return Response(status_code=204)


async def end(request: Request) -> Response:
    """DELETE. 200, for OBS takes every other status for a failure."""
    _peer(request).end("left")
    return Response(status_code=200)


async def options(request: Request) -> Response:
    """Of the addresses that take offers."""
    return Response(status_code=200, headers={"accept-post": SDP, "allow": "OPTIONS, POST"})


async def resource_options(request: Request) -> Response:
    return Response(status_code=200, headers={"accept-patch": MEDIA_TYPE, "allow": "DELETE, OPTIONS, PATCH"})


def _peer(request: Request) -> Peer:
    """Raises Refused."""
    peer = peers_of(request).find(request.path_params["peer_id"])
    if peer is None:
        raise Refused(404, "not_found", "no such peer here, or it is over")
    if not peer.is_of(bearer(request.headers)):
        raise Refused(401, "unauthorized", "the bearer of the offer is needed here, too")
    return peer
