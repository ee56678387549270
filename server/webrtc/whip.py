"""WHIP (RFC 9725): OBS, FFmpeg and others show a session pictures. /v1/whip and /v1/whip/{session}.

The same stream key always means the same session: who comes back within the resume window, with a DELETE before or without, goes
on with the music that was. A session that is named in the address is opened when there is none, by who has the key, or by anybody
where none is asked for. A client secret means the session that it was made for, and does so again when it comes back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from engine.errors import NoRoom
from server.access.admission import TooOften
from server.access.rates import address_of
from server.access.secrets import (
    SESSION_NAME,
    Anybody,
    Caller,
    Hearing,
    Invited,
    Operator,
    bearer,
    new_session_id,
)
from server.http.refusals import Refused
from server.http.rest import NAMES, no_session
from server.sessions.host import Draining, Hanging, Host
from server.sessions.hosted import Hosted
from server.webrtc.asking import SDP, caller_of, check_rate, created, offer_of, peers_of, text_of
from server.webrtc.offers import WHIP
from server.webrtc.peers import Peers
from server.webrtc.publisher import Publisher


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session that may be published to. invited: by a client secret, which is used up when it is opened. nonce: of the one
    that such a secret opened; it opens no other."""

    session_id: str
    invited: bool = False
    nonce: str | None = None


async def publish(request: Request) -> Response:
    """The route. Who finds no room here is sent to the server that takes over, if there is one."""
    try:
        return await _publish(request)
    except Refused as error:
        redirect = peers_of(request).host.settings.redirect
        if error.status != 503 or not redirect:
            raise
        return Response(status_code=307, headers={"location": redirect.rstrip("/") + request.url.path})


async def _publish(request: Request) -> Response:
    check_rate(request)
    peers, token = peers_of(request), bearer(request.headers)
    text = await text_of(request, SDP, peers.host.settings.peers.sdp_bytes)
    wanted = _wanted(peers, token, request)
    publisher = Publisher(peers)
    peer, answer = await peers.answer(offer_of(request, text, WHIP), token, None, publisher.incoming)
    try:
        hosted = await _session(peers.host, wanted, address_of(request))
    except (Refused, TooOften):
        peer.end("refused")
        raise
    if wanted.invited and token:
        peers.spend(_digest(token), hosted.identity)
    publisher.hold(hosted, peer)
    return created(peers.host, peer, answer, hosted.id)


def _wanted(peers: Peers, token: str | None, request: Request) -> Wanted:
    """Raises Refused, TooOften."""
    name = request.path_params.get("session_id")
    if name is not None and not SESSION_NAME.fullmatch(name):
        raise Refused(404, "session_not_found", NAMES)
    if token and (opened := peers.opened_by(_digest(token))):
        return Wanted(_the_same(opened.session_id, name), nonce=opened.nonce)
    match _caller(peers.host, token, request):
        case Invited(session_id):
            return Wanted(_the_same(session_id, name), invited=True)
        case Operator():
            own = peers.host.door.stream_of(token) if token else new_session_id()
            return Wanted(name or own)
        case Hearing():
            raise Refused(403, "forbidden", "this token lets its bearer hear a session, and no more")
        case _:
            raise Refused(
                401, "unauthorized", "a key or a client secret is needed: Authorization: Bearer KEY"
            )


def _caller(host: Host, token: str | None, request: Request) -> Caller:
    """Where no key is asked for, any token is a stream key. Raises TooOften."""
    if not host.door.asks_for_a_key:
        caller = host.door.caller(token, host.monotonic())
        return Operator() if isinstance(caller, Anybody) else caller
    return caller_of(request, token)


def _the_same(session_id: str, name: str | None) -> str:
    if name not in (None, session_id):
        raise Refused(403, "forbidden", "this client secret is for another session")
    return session_id


async def _session(host: Host, wanted: Wanted, address: str | None) -> Hosted:
    """The one that waits, or a new one. Raises Refused, TooOften."""
    try:
        if hosted := host.find_again(wanted.session_id, wanted.nonce):
            return hosted
        if wanted.nonce is not None:
            raise Refused(401, "unauthorized", "this client secret was used, and its session is over")
        if not wanted.invited:  # else it was counted when it was invited
            host.admission.check_start(address)
        await host.vacate(wanted.session_id)
        return host.find_again(wanted.session_id) or host.open(wanted.session_id, None)
    except (Draining, Hanging, NoRoom) as error:
        raise no_session(host, error) from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
