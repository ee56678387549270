"""WHEP: players hear a session's music. /v1/whep/{session}, by the key, by the token of its sound addresses or its client secret.

They are listeners beside its client, as those of the endless sound by HTTP are, and the same number may listen in all.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.access.secrets import Hearing, Invited, Operator, bearer
from server.http.endless import MOST_LISTENERS
from server.http.refusals import Refused
from server.http.rest import find
from server.sessions.host import RETRY_S
from server.webrtc.asking import SDP, caller_of, check_rate, created, offer_of, peers_of, text_of
from server.webrtc.music import Playing
from server.webrtc.offers import WHEP


async def play(request: Request) -> Response:
    """The route."""
    check_rate(request)
    peers = peers_of(request)
    host = peers.host
    text = await text_of(request, SDP, host.settings.peers.sdp_bytes)
    token = bearer(request.headers) or request.query_params.get("token") or None
    _check(request, token)
    offer, hosted, music = offer_of(request, text, WHEP), find(request), peers.music()
    if len(hosted.taps) >= MOST_LISTENERS:
        raise Refused(503, "capacity", f"{MOST_LISTENERS} listeners are here already", RETRY_S)
    playing = Playing(hosted, music)
    hosted.taps.append(playing)  # counted before anything is waited for
    host.metrics.players.inc()

    def leave(reason: str) -> None:
        hosted.taps.remove(playing)
        host.metrics.players.dec()

    try:
        peer, answer = await peers.answer(offer, bearer(request.headers), music, None)
    except BaseException:
        leave("refused")
        raise
    peer.at_end(leave)
    playing.ended = lambda: peer.end("over")
    if hosted.gone:
        peer.end("over")
    return created(host, peer, answer, hosted.id)


def _check(request: Request, token: str | None) -> None:
    """Raises Refused, TooOften."""
    host, session_id = peers_of(request).host, request.path_params["session_id"]
    if not host.door.asks_for_a_key:
        return
    match caller_of(request, token):
        case Operator():
            return
        case Hearing(heard) | Invited(heard):
            if heard != session_id:
                raise Refused(403, "forbidden", "this token is for another session")
        case _:
            raise Refused(
                401, "unauthorized", "a key or the session's token is needed: Authorization: Bearer TOKEN"
            )
