"""What aiortc's receivers are given before they begin: every profile of H.264, frames at once, and queues that cannot grow.

aiortc offers two profiles; FFmpeg's own publisher names the one that it encodes, and our decoders take all of them.

aiortc's jitter buffer gives a frame of video away when the next one begins, with a camera 33 ms later or more, and one for each
packet. The one put here gives away whatever is whole, and to us: aiortc has no video to decode, and its thread for that waits.

aiortc decodes sound, between two queues without a bound. Where its decoder or the loop is late they would fill the memory; those
put here forget. What is replaced is private; `tests/server/test_webrtc_queues.py` says what is expected of it.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiortc import MediaStreamTrack, RTCRtpCodecParameters, RTCRtpReceiver
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from server.protocol.media import Kind
from server.webrtc.limits import PeerLimits

PROFILES = {110: "4d001f", 112: "64001f", 114: "640c1f"}
"""Main, high and constrained high, by the payload types that nothing else has; an answer uses those of its offer."""
PACKETS = 512
"""Of a video that may wait for one that is missing, as many as aiortc lets wait."""
CLOCK_TURN = 1 << 32
WAITS = 90_000
"""Of a video's clock, for a packet that is missing and was asked for again: after a second a keyframe is quicker."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame of video, H.264 as Annex B or VP8. at: 1 / 90,000 s from the first frame on.

    follows: nothing is missing between it and the one before.
    """

    kind: Kind
    data: bytes
    at: int
    follows: bool


class Tracks(Protocol):
    """Who takes what a peer sends."""

    def picture(self, frame: Encoded) -> bool:
        """As soon as it is whole; whether a keyframe is to be asked for."""

    async def hear(self, track: MediaStreamTrack) -> None:
        """Sound, until it ends."""

    def end(self, reason: str) -> None:
        """The peer is over."""


def know_profiles() -> None:
    """Let offers of H.264 in every usual profile be answered. Once for the process; a second call changes nothing."""
    plain = next(c for c in CODECS["video"] if c.name == "H264")
    known = {codec.parameters.get("profile-level-id") for codec in CODECS["video"]}
    for payload_type, profile in PROFILES.items():
        if profile not in known:
            CODECS["video"].append(
                RTCRtpCodecParameters(
                    mimeType=plain.mimeType,
                    clockRate=plain.clockRate,
                    payloadType=payload_type,
                    rtcpFeedback=list(plain.rtcpFeedback),
                    parameters=plain.parameters | {"profile-level-id": profile},
                )
            )


def take_frames(receiver: RTCRtpReceiver, take: Callable[[Encoded], object]) -> None:
    """Of a receiver of video that has not begun. take: called on the loop."""
    codecs = receiver._RTCRtpReceiver__codecs  # type: ignore[attr-defined]
    receiver._RTCRtpReceiver__jitter_buffer = Frames(PACKETS, codecs, take)  # type: ignore[attr-defined]


def bound_sound(receiver: RTCRtpReceiver, limits: PeerLimits, lost: Callable[[int], object]) -> None:
    """Give a receiver of sound that has its track, and has not begun, its queues. lost: told how many frames went."""
    receiver._RTCRtpReceiver__decoder_queue = Backlog(limits.encoded_sounds, lost)  # type: ignore[attr-defined]
    receiver.track._queue = Newest(limits.decoded_sounds, lost)  # type: ignore[attr-defined]


class Frames(JitterBuffer):
    """Packets of a video to frames, in order: one is whole with the packet that is marked as its last.

    A sender that marks none is waited for: then a frame is whole when the next one begins. Source: RFC 3550, 5.1; RFC 7741, 4.1;
    RFC 6184, 5.1.
    """

    def __init__(
        self,
        capacity: int,
        codecs: Mapping[int, RTCRtpCodecParameters],
        take: Callable[[Encoded], object],
    ) -> None:
        """codecs: by their payload types, filled when the receiver begins."""
        super().__init__(capacity, is_video=True)
        self._codecs, self._take = codecs, take
        self._follows = False
        self._left: int | None = None  # the first packet that was not given away
        self._clock: int | None = None  # of the newest frame, as RTP has it
        self._at = 0

    def _remove_frame(self, sequence_number: int) -> None:
        """Give away all that are whole; nothing is left for aiortc."""
        place = sequence_number % self.capacity
        newest = self._packets[place]
        self._follows = self._follows and self._origin == self._left  # else some were given up, to make room
        self._give_away()
        while newest and self._packets[place] is newest and self._is_overdue(newest):
            self.smart_remove(1)
            self._follows = False
            self._give_away()
        self._left = self._origin

    def _is_overdue(self, newest: RtpPacket) -> bool:
        """Whether what waits is too old. newest: it is among them."""
        assert self._origin is not None
        places = ((self._origin + count) % self.capacity for count in range(self.capacity))
        oldest = next(packet for place in places if (packet := self._packets[place]))
        return WAITS < (newest.timestamp - oldest.timestamp) % CLOCK_TURN < CLOCK_TURN // 2

    def _give_away(self) -> None:
        self._skip_padding()
        while packets := self._whole():
            data = b"".join(packet._data for packet in packets)  # type: ignore[attr-defined]
            self.remove(len(packets))
            kind = Kind[self._codecs[packets[0].payload_type].name.upper()]
            self._take(Encoded(kind, data, self._time(packets[0].timestamp), self._follows))
            self._follows = True
            self._skip_padding()

    def _skip_padding(self) -> None:
        """Packets without a payload, by which browsers try how much goes through, follow a frame that is whole."""
        assert self._origin is not None
        while (packet := self._packets[self._origin % self.capacity]) and not packet._data:  # type: ignore[attr-defined]
            self.remove(1)

    def _whole(self) -> list[RtpPacket]:
        packets: list[RtpPacket] = []
        for packet in self._in_order():
            if packets and packet.timestamp != packets[0].timestamp:
                return packets
            packets.append(packet)
            if packet.marker:
                return packets
        return []

    def _in_order(self) -> Iterator[RtpPacket]:
        """From the oldest on, as far as none is missing."""
        assert self._origin is not None
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self.capacity]
            if packet is None:
                return
            yield packet

    def _time(self, clock: int) -> int:
        """RTP's clock begins anywhere, and again and again; pictures out of order go back by a little."""
        ahead = 0 if self._clock is None else (clock - self._clock) % CLOCK_TURN
        self._clock = clock
        self._at += ahead if ahead < CLOCK_TURN // 2 else ahead - CLOCK_TURN
        return self._at


class Backlog(queue.Queue[Any]):
    """Encoded sound before its decoder: when `most` frames wait, all go. lost: told how many.

    The end, None, goes ahead of what waits, for the loop waits until the decoder has met it.
    """

    def __init__(self, most: int, lost: Callable[[int], object]) -> None:
        super().__init__()  # bound: most
        self._most, self._lost = most, lost

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item is None:
            self._forget()
        elif self.qsize() >= self._most:
            self._lost(self._forget())
        super().put(item)

    def _forget(self) -> int:
        with self.mutex:
            count = len(self.queue)
            self.queue.clear()
        return count


class Newest(asyncio.Queue[Any]):
    """Decoded sound before whoever hears it: the newest `most` frames. lost: told of each that went."""

    def __init__(self, most: int, lost: Callable[[int], object]) -> None:
        super().__init__()
        self._most, self._lost = most, lost

    async def put(self, item: Any) -> None:
        while self.qsize() >= self._most:  # bound: `most`, then the oldest goes
            self.get_nowait()
            self._lost(1)
        self.put_nowait(item)
