"""All peers of a server: how many there may be, who is found under which address, and how they end with the server."""

from __future__ import annotations

import asyncio
import logging
from typing import TypeAlias

from server.access.secrets import Identity
from server.http.refusals import Refused
from server.sessions.host import RETRY_S, Host
from server.webrtc.music import Music
from server.webrtc.offers import Offer, Unfit
from server.webrtc.peer import Peer
from server.webrtc.reach import addresses
from server.webrtc.receiving import Tracks, know_profiles

MOST_SPENT = 1024
Spent: TypeAlias = tuple[Identity, float]
"""The session that a client secret opened, and until when it may mean that one."""


class Peers:
    """`publishing`: who shows pictures to a session by WHIP, by the session; one each, the newest."""

    def __init__(self, host: Host) -> None:
        know_profiles()
        logging.getLogger("aiortc").setLevel(logging.ERROR)  # it warns of all sound that cannot be decoded
        self.host = host
        self.publishing: dict[str, Peer] = {}  # bound: as `_open`
        self._spent: dict[bytes, Spent] = {}  # bound: MOST_SPENT, then the oldest is forgotten
        self._limits = host.settings.peers
        self._open: dict[str, Peer] = {}  # bound: at_once, then Refused
        self._lives: set[asyncio.Task[None]] = set()  # bound: the same, and those that are closing

    def find(self, peer_id: str) -> Peer | None:
        peer = self._open.get(peer_id)
        return None if peer is None or peer.ended else peer

    def spend(self, digest: bytes, session: Identity) -> None:
        """A client secret was used, and means this session until that is over: for a publisher who comes back."""
        now_s, limits = self.host.monotonic(), self.host.settings.limits
        self._spent = {secret: held for secret, held in self._spent.items() if held[1] > now_s}
        if len(self._spent) >= MOST_SPENT:
            del self._spent[next(iter(self._spent))]
        self._spent[digest] = session, now_s + limits.session_s + limits.resume_window_s

    def opened_by(self, digest: bytes) -> Identity | None:
        """The session that a client secret opened, which may be over."""
        session, until_s = self._spent.get(digest, (None, 0.0))
        return session if self.host.monotonic() < until_s else None

    def music(self) -> Music:
        settings, metrics = self.host.settings, self.host.metrics
        return Music(self.host.monotonic, self._limits.waiting_ms, settings.chunk_ms, metrics.skipped.inc)

    async def answer(
        self,
        offer: Offer,
        bearer: str | None,
        music: Music | None,
        tracks: Tracks | None,
    ) -> tuple[Peer, str]:
        """A peer that waits to be connected, and the SDP that its client is to get. Raises Refused.

        tracks: takes what comes in, None where nobody does.
        """
        if len(self._open) >= self._limits.at_once:
            raise self._refused(
                503, "capacity", f"{self._limits.at_once} peers are connected, as many as may"
            )
        metrics, servers = self.host.metrics, self.host.settings.ice_servers
        monotonic, unheard, left_out = self.host.monotonic, metrics.unheard.inc, metrics.leave_out
        peer = Peer(offer, bearer, self._limits, servers, monotonic, unheard, left_out)
        self._open[peer.id] = peer
        metrics.peers.labels(offer.purpose.name).inc()
        life = asyncio.create_task(self._live(peer))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        listening = addresses(self.host.settings.ice_addresses)
        try:
            return peer, await peer.answer(listening, music, tracks)
        except Unfit as error:
            peer.end("refused")
            raise self.unfit(error) from None
        except BaseException:
            peer.end("failed")
            raise

    def unfit(self, error: Unfit) -> Refused:
        code = "bad_request" if error.status == 400 else "unsupported_codec"
        return self._refused(error.status, code, str(error))

    def _refused(self, status: int, code: str, text: str) -> Refused:
        self.host.metrics.peers_refused.labels(str(status)).inc()
        return Refused(status, code, text, RETRY_S if status == 503 else None)

    async def _live(self, peer: Peer) -> None:
        try:
            reason = await peer.live()
            self.host.metrics.peers_ended.labels(reason).inc()
        finally:
            del self._open[peer.id]
            self.host.metrics.peers.labels(peer.offer.purpose.name).dec()
            self.host.litter()

    async def stop(self) -> None:
        """Close them all."""
        for peer in self._open.values():
            peer.end("stopped")
        if self._lives:
            await asyncio.wait(self._lives, timeout=self._limits.close_s)
