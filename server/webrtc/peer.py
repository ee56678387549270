"""One peer connection, from its offer to its end.

    answer ─► connecting ─► connected ─► ended: not_connected, failed, lost, left, closed, refused, over, stopped

It ends by itself when it does not connect, when nothing is heard any more, or when the other side closes it; or by `end`. It
knows no session: whoever opened it says what is done with its tracks, and what is to be done at its end.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamTrack

from server.metrics import PeerEnd
from server.webrtc.arriving import Tell, bound_sources
from server.webrtc.fragments import Fragment
from server.webrtc.identity import know_by_fingerprint
from server.webrtc.limits import PeerLimits
from server.webrtc.music import Music
from server.webrtc.offers import MALFORMED, Offer, Unfit, usable
from server.webrtc.pulse import Pulse
from server.webrtc.reach import listen_at
from server.webrtc.receiving import Encoded, Tracks, bound_sound, take_frames

logger = logging.getLogger("uvicorn.error")
UNFIT = (*MALFORMED, InternalError, InvalidAccessError, InvalidStateError, OperationError)
KEYFRAME_APART_S = 1.0


class Peer:
    """`ended`: why, once it has. bearer: what its offer came with, and what later requests must come with."""

    def __init__(
        self,
        offer: Offer,
        bearer: str | None,
        limits: PeerLimits,
        ice_servers: tuple[str, ...],
        monotonic: Callable[[], float],
        unheard: Callable[[int], object],
        left_out: Tell,
    ) -> None:
        """unheard: told how many frames of sound the decoder or the loop was too slow for. left_out: told of packets."""
        self.id, self.etag = secrets.token_urlsafe(16), f'"{secrets.token_hex(8)}"'
        self.offer, self.ended, self._left = offer, "", False
        servers = [RTCIceServer(uri) for uri in ice_servers]
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._bearer, self._limits, self._monotonic = _digest(bearer), limits, monotonic
        self._candidates = offer.candidates
        self._connected, self._over = asyncio.Event(), asyncio.Event()
        # bound: what its owner began, and one request a second that ends
        self._work: set[asyncio.Task[None]] = set()
        self._at_end: list[Callable[[str], object]] = []
        self._unheard, self._left_out, self._asked_s = unheard, left_out, -math.inf
        self.connection.on("connectionstatechange", self._changed)

    async def answer(self, addresses: list[str], music: Music | None, tracks: Tracks | None) -> str:
        """The answer's SDP, with all our candidates. tracks: takes what will come in, None where nobody does. Raises Unfit."""
        self.connection.on("track", lambda track: self._come(track, tracks))
        if tracks:
            self.at_end(tracks.end)
        try:
            await self.connection.setRemoteDescription(RTCSessionDescription(self.offer.sdp, "offer"))
            if music:
                self._send(music)
            know_by_fingerprint(self.connection)
            bound_sources(self.connection, self._limits.sources, self._left_out)
            listen_at(self.connection, addresses, self._limits.gather_s)
            await self.connection.setLocalDescription()
        except UNFIT as error:
            raise Unfit(422, f"this offer cannot be answered: {error}"[:200]) from None
        return stereo(self.connection.localDescription.sdp)

    def _send(self, music: Music) -> None:
        for transceiver in self.connection.getTransceivers():
            if transceiver.mid == self.offer.music_mid:
                transceiver.sender.replaceTrack(music)
                transceiver.direction = "sendrecv"

    async def trickle(self, fragment: Fragment) -> None:
        room = max(0, self._limits.candidates - self._candidates)
        for candidate in usable(fragment.candidates, room):
            self._candidates += 1
            await self.connection.addIceCandidate(candidate)

    def is_of(self, bearer: str | None) -> bool:
        """Whether a request comes from whom the offer came from."""
        return self._bearer is None or secrets.compare_digest(self._bearer, _digest(bearer) or b"")

    # --- its life

    def work(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Do it until the end; what goes wrong ends the peer."""
        if self._left:
            coroutine.close()
            return
        task = asyncio.create_task(self._do(coroutine))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def at_end(self, call: Callable[[str], object]) -> None:
        """Call it with the reason; now, when the end is past."""
        call(self.ended) if self._left else self._at_end.append(call)

    def end(self, reason: PeerEnd) -> None:
        """Its sockets close soon after; the first reason counts."""
        if not self.ended:
            self.ended = reason
            self._over.set()

    async def live(self) -> str:
        """Until its end; returns why."""
        watch = asyncio.create_task(self._watch())
        try:
            await self._over.wait()
        finally:
            self.ended, self._left = self.ended or "stopped", True
            for task in [watch, *self._work]:
                task.cancel()
            for call in self._at_end:
                call(self.ended)
            await self._close()
        return self.ended

    async def connected(self) -> None:
        await self._connected.wait()

    async def _watch(self) -> None:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                await self._connected.wait()
        except TimeoutError:
            self.end("not_connected")
            return
        await Pulse(self.connection, self._monotonic).stops(self._limits.lost_s)
        self.end("lost")

    def _changed(self) -> None:
        match self.connection.connectionState:
            case "connected":
                self._connected.set()
            case "failed":
                self.end("failed" if self._connected.is_set() else "not_connected")
            case "closed":
                self.end("closed")

    async def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except Exception:
            logger.exception("a peer's work failed")
            self.end("failed")

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(self._limits.close_s):
                await self.connection.close()
        except TimeoutError:
            logger.error("a peer connection did not close within %g s", self._limits.close_s)

    # --- what comes in

    def _come(self, track: MediaStreamTrack, tracks: Tracks | None) -> None:
        receiver = next(r for r in self.connection.getReceivers() if r.track is track)
        if track.kind == "video":
            take_frames(receiver, lambda frame: self._show(frame, tracks))
            return
        bound_sound(receiver, self._limits, self._unheard)
        if tracks:
            self.work(tracks.hear(track))

    def _show(self, frame: Encoded, tracks: Tracks | None) -> None:
        """Called by aiortc for each packet."""
        if tracks is None or self._left:
            return
        try:
            wanted = tracks.picture(frame)
        except Exception:
            logger.exception("a peer's work failed")
            self.end("failed")
            return
        if wanted and self._monotonic() - self._asked_s >= KEYFRAME_APART_S:
            self._asked_s = self._monotonic()
            self.work(self._ask_keyframe())

    async def _ask_keyframe(self) -> None:
        for receiver in self.connection.getReceivers():
            if receiver.track and receiver.track.kind == "video":
                for source in receiver.getSynchronizationSources():
                    await receiver._send_rtcp_pli(source.source)


def stereo(sdp: str) -> str:
    """An answer that says that our Opus has two channels. aiortc writes no parameters of Opus."""
    lines = []
    for line in sdp.splitlines():
        lines.append(line)
        if line.startswith("a=rtpmap:") and " opus/" in line:
            payload_type = line.removeprefix("a=rtpmap:").partition(" ")[0]
            lines.append(f"a=fmtp:{payload_type} minptime=10;stereo=1;sprop-stereo=1;useinbandfec=1")
    return "\r\n".join(lines) + "\r\n"


def _digest(bearer: str | None) -> bytes | None:
    return None if bearer is None else hashlib.sha256(bearer.encode()).digest()
