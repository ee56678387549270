"""A peer that shows pictures by WHIP, and the session that it shows them to.

It holds the session as a websocket would, with a line that nobody reads, and lets the music begin. Where a client holds the
session already, a page for instance, it brings its pictures and nothing else.
"""

from __future__ import annotations

import asyncio

from server.sessions.hosted import Hosted
from server.sessions.outbox import Line
from server.webrtc.incoming import Incoming
from server.webrtc.music import Unheard
from server.webrtc.peer import Peer
from server.webrtc.peers import Peers

LOOK_S = 1.0


class Publisher:
    def __init__(self, peers: Peers) -> None:
        self._peers, self._host = peers, peers.host
        self.incoming = Incoming(peers.host, self._shown, "whip")
        self._hosted: Hosted | None = None
        self._peer: Peer | None = None

    def hold(self, hosted: Hosted, peer: Peer) -> None:
        """From now on; whoever published to the session before is let go."""
        before, self._peers.publishing[hosted.id] = self._peers.publishing.get(hosted.id), peer
        self._hosted, self._peer = hosted, peer
        peer.at_end(self._end)
        if before:
            before.end("superseded")
        if hosted.line and not isinstance(hosted.speaker, Unheard):
            peer.work(self._follow(hosted, peer))
        else:
            self._attach(hosted, peer)

    def _shown(self) -> Hosted | None:
        hosted = self._hosted
        mine = hosted is not None and not hosted.gone and self._peers.publishing.get(hosted.id) is self._peer
        return hosted if mine else None

    def _attach(self, hosted: Hosted, peer: Peer) -> None:
        line, new = Line(self._host.settings.limits), hosted.core.state == "created"
        hosted.join(self._host.monotonic(), line, Unheard)
        if new:
            hosted.playback(self._host.monotonic(), "play")
        peer.at_end(lambda reason: hosted.detach(self._host.monotonic(), line, left=False))
        peer.work(_read(line, peer))

    async def _follow(self, hosted: Hosted, peer: Peer) -> None:
        """Stay as long as the session of another client."""
        while not hosted.gone:
            await asyncio.sleep(LOOK_S)
        peer.end("over")

    def _end(self, reason: str) -> None:
        hosted = self._hosted
        if hosted and self._peers.publishing.get(hosted.id) is self._peer:
            del self._peers.publishing[hosted.id]


async def _read(line: Line, peer: Peer) -> None:
    """Nobody hears what is said; that the line is closed is heard."""
    while await line.next() is not None:
        pass
    peer.end("over")
