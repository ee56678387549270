"""One offer for browsers: video up, music down, and a data channel with the messages of the websocket. /v1/offer.

Its bearer is what a websocket would bring, or a resume handle. The session is begun or resumed by the first message on the
channel, as there.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.access.rates import address_of
from server.access.secrets import Anybody, Hearing, bearer
from server.http.refusals import Refused
from server.http.rest import answer, body
from server.protocol.errors import ErrorCode
from server.sessions.conversation import Conversation
from server.sessions.hosted import Hosted
from server.sessions.leaving import GOING_AWAY
from server.sessions.outbox import Line
from server.webrtc.arriving import bound_pieces
from server.webrtc.asking import caller_of, check_rate, headers, offer_of, peers_of
from server.webrtc.bodies import Answered, Offered
from server.webrtc.channel import Channel
from server.webrtc.incoming import Incoming
from server.webrtc.music import Airing
from server.webrtc.offers import BROWSER
from server.webrtc.peer import Peer
from server.webrtc.peers import Peers


async def meet(request: Request) -> Response:
    """The route."""
    check_rate(request)
    peers, token = peers_of(request), bearer(request.headers)
    offered = await body(request, Offered, peers.host.settings.peers.sdp_bytes)
    _check(request, token)
    offer = offer_of(request, offered.sdp, BROWSER)
    browser = Browser(peers, token, address_of(request))
    peer, sdp = await peers.answer(offer, token, browser.music, browser.incoming)
    browser.live_on(peer)
    said = Answered("answer", sdp, peers.host.settings.ice_servers)
    return answer(said, 201, **headers(peers.host, peer))


def _check(request: Request, token: str | None) -> None:
    """Raises Refused, TooOften."""
    host = peers_of(request).host
    session, fresh = host.door.session_of(token or "", host.monotonic())
    if session and fresh and host.awaits(session):
        return
    if session:
        host.metrics.resumes.labels("session_expired").inc()
        raise Refused(404, "session_expired", "no such session here, or it is over")
    caller = caller_of(request, token)
    if isinstance(caller, Anybody):
        said = "a key, a client secret or a resume handle is needed: Authorization: Bearer TOKEN"
        raise Refused(401, "unauthorized", said)
    if isinstance(caller, Hearing):
        raise Refused(403, "forbidden", "this token lets its bearer hear a session, and no more")


class Browser:
    """A client over WebRTC: what `stream_socket.Connection` is for a websocket."""

    def __init__(self, peers: Peers, token: str | None, address: str | None) -> None:
        host = self._host = peers.host
        self.music = peers.music()
        self._line = Line(host.settings.limits)
        self._conversation = Conversation(
            host, self._line, token, address, lambda feed: Airing(feed, self.music)
        )
        self._channel = Channel(self._line, self._conversation, host.settings.peers.channel_bytes)
        self.incoming = Incoming(host, self._shown, "offer")

    def live_on(self, peer: Peer) -> None:
        """The peer waits to be connected, and nothing was received yet."""
        limits, metrics = self._host.settings.peers, self._host.metrics
        bound_pieces(peer.connection, limits.pieces, metrics.leave_out, self._overrun)
        peer.connection.on("datachannel", lambda come: self._channel.take(come, lambda: peer.end("left")))
        peer.at_end(self._end)
        peer.work(self._greet(peer))
        peer.work(self._talk(peer))

    def _overrun(self) -> None:
        """Pieces of messages that come after it are not taken either."""
        if self._line.closing is None:
            most, code = self._host.settings.peers.pieces, ErrorCode.MESSAGE_TOO_LARGE
            self._host.metrics.errors.labels(str(code)).inc()
            self._line.fail(code, f"more than {most} pieces of messages wait for the rest of them")

    def _shown(self) -> Hosted | None:
        hosted = self._conversation.hosted
        return hosted if hosted and hosted.line is self._line else None

    async def _greet(self, peer: Peer) -> None:
        await peer.connected()
        await self._channel.begin(self._host.settings.limits.handshake_s)

    async def _talk(self, peer: Peer) -> None:
        await self._channel.carry()
        peer.end("over")

    def _end(self, reason: str) -> None:
        """What comes while the connection closes is heard by nobody."""
        self._line.hang_up(GOING_AWAY)
        if hosted := self._conversation.hosted:
            hosted.detach(self._host.monotonic(), self._line, left=False)
