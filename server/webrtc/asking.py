"""What the routes of WebRTC have in common: the body of an offer, and the answer to one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.access.rates import address_of
from server.access.secrets import Caller
from server.http.refusals import Refused
from server.http.rest import read_body
from server.sessions.host import Host
from server.webrtc.offers import Offer, Purpose, Unfit, read
from server.webrtc.peer import Peer
from server.webrtc.peers import Peers
from server.webrtc.routes import RESOURCE

SDP = "application/sdp"


def peers_of(request: Request) -> Peers:
    peers: Peers = request.app.state.peers
    return peers


async def text_of(request: Request, media_type: str, most: int) -> str:
    """The body of this type. Raises Refused: 413, 415, 400."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise Refused(415, "bad_request", f"the body is to be {media_type}")
    try:
        return (await read_body(request, most)).decode()
    except UnicodeDecodeError:
        raise Refused(400, "bad_request", "the body is not UTF-8") from None


def check_rate(request: Request) -> None:
    """Offers count as connections. Raises TooOften."""
    peers_of(request).host.admission.check_connect(address_of(request))


def caller_of(request: Request, token: str | None) -> Caller:
    """Who asks with this token. Raises TooOften."""
    return peers_of(request).host.admission.caller(token, address_of(request))


def offer_of(request: Request, text: str, purpose: Purpose) -> Offer:
    """Raises Refused."""
    peers = peers_of(request)
    try:
        return read(text, purpose, peers.host.settings.peers)
    except Unfit as error:
        raise peers.unfit(error) from None


def created(host: Host, peer: Peer, sdp: str, session_id: str) -> Response:
    """201 as RFC 9725 has it, for players too. The session's id tells where its music is."""
    return Response(sdp, 201, headers(host, peer) | {"cuestream-session": session_id}, SDP)


def headers(host: Host, peer: Peer) -> dict[str, str]:
    said = {"location": RESOURCE.format(peer_id=peer.id), "etag": peer.etag, "cache-control": "no-store"}
    links = ", ".join(f'<{uri}>; rel="ice-server"' for uri in host.settings.ice_servers)
    return said | ({"link": links} if links else {})
