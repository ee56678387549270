"""What aiortc's receivers are given before they begin: every profile of H.264, frames at once, and queues that cannot grow.

aiortc offers two profiles and decodes all of them, for its decoder is FFmpeg's; FFmpeg's own publisher names the profile that it
encodes. Its queues, from the network to the decoder and from there to the track, have no bound: a decoder that is slower than the
video, or a loop that is late, would fill the memory. Those put here instead forget, and ask for a keyframe where that is needed.
Its jitter buffer gives a frame away when the next one begins, which with a camera is 33 ms later or more. The attributes that are
replaced are private; `tests/server/test_webrtc_queues.py` says what is expected of them.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from typing import Any

from aiortc import RTCRtpCodecParameters, RTCRtpReceiver
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

from server.pictures.headers import NAL_TYPE, START_CODE, VP8_INTER, check_headers
from server.protocol.errors import ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import Kind
from server.webrtc.limits import PeerLimits

PROFILES = {110: "4d001f", 112: "64001f", 114: "640c1f"}
"""Main, high and constrained high, by the payload types that nothing else has; an answer uses those of its offer."""
IDR = 5
PACKETS = 512
"""Of a video that may wait for one that is missing, as many as aiortc lets wait."""


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


def bound(
    receiver: RTCRtpReceiver,
    limits: PeerLimits,
    pictures: Limits,
    lost: Callable[[int], object],
    unheard: Callable[[], object],
) -> None:
    """Give a receiver that has its track, and has not begun, its queues. lost: see `Backlog`. unheard: called for each frame of
    sound that went. A frame of the track is an error where one of `pictures` was too large to be decoded."""
    decoded = Newest(limits.decoded_sounds, unheard) if receiver.track.kind == "audio" else Newest()

    def fits(codec: str, data: bytes) -> bool:
        try:
            check_headers(Kind[codec.upper()], data, pictures)
        except ProtocolError as error:
            decoded.put_now(error)
            return False
        return True

    receiver._RTCRtpReceiver__decoder_queue = Backlog(limits.encoded_frames, lost, fits)  # type: ignore[attr-defined]
    receiver.track._queue = decoded  # type: ignore[attr-defined]
    if receiver.track.kind == "video":
        receiver._RTCRtpReceiver__jitter_buffer = Frames(PACKETS)  # type: ignore[attr-defined]


class Frames(JitterBuffer):
    """Packets of a video to frames, in order: one is whole with the packet that is marked as its last.

    A sender that marks none is waited for: then a frame is whole when the next one begins. Source: RFC 3550, 5.1; RFC 7741, 4.1;
    RFC 6184, 5.1.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, is_video=True)

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        self._skip_padding()
        packets: list[RtpPacket] = []
        for packet in self._in_order():
            if packets and packet.timestamp != packets[0].timestamp:
                return self._frame(packets)
            packets.append(packet)
            if packet.marker:
                return self._frame(packets)
        return None

    def _skip_padding(self) -> None:
        """Packets without a payload, by which browsers try how much goes through, follow a frame that is whole."""
        assert self._origin is not None
        while (packet := self._packets[self._origin % self.capacity]) and not packet._data:  # type: ignore[attr-defined]
            self.remove(1)

    def _in_order(self) -> Iterator[RtpPacket]:
        """From the oldest on, as far as none is missing."""
        assert self._origin is not None
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self.capacity]
            if packet is None:
                return
            yield packet

    def _frame(self, packets: list[RtpPacket]) -> JitterFrame:
        data = b"".join(packet._data for packet in packets)  # type: ignore[attr-defined]
        self.remove(len(packets))
        return JitterFrame(data, packets[0].timestamp)


class Backlog(queue.Queue[Any]):
    """Encoded frames before the decoder: when `most` wait, all go, and those of a video that follow until a keyframe.

    lost: told how many went. fits: asked for each frame of a video, by codec and data; one that does not goes, and is not lost.
    The end, None, goes ahead of what waits, for the loop waits until the decoder has met it.
    """

    def __init__(
        self, most: int, lost: Callable[[int], object], fits: Callable[[str, bytes], bool] = lambda *_: True
    ) -> None:
        super().__init__()  # bound: most
        self._most, self._lost, self._fits = most, lost, fits
        self._needs_key = False

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item is None:
            self._forget()
        elif not self._takes(*item):
            return
        super().put(item)

    def _takes(self, codec: RTCRtpCodecParameters, frame: Any) -> bool:
        video = codec.mimeType.startswith("video/")
        if video and not self._fits(codec.name, frame.data):
            self._needs_key = True
            return False
        if self.qsize() >= self._most:
            self._lost(self._forget())
            self._needs_key = video
        self._needs_key = self._needs_key and not is_key(codec.name, frame.data)
        if self._needs_key:
            self._lost(1)
        return not self._needs_key

    def _forget(self) -> int:
        with self.mutex:
            count = len(self.queue)
            self.queue.clear()
        return count


class Newest(asyncio.Queue[Any]):
    """Decoded frames before whoever looks at them: the newest `most`. gone: called for each that went."""

    def __init__(self, most: int = 1, gone: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._most, self._gone = most, gone

    async def put(self, item: Any) -> None:
        self.put_now(item)

    def put_now(self, item: Any) -> None:
        while self.qsize() >= self._most:  # bound: `most`, then the oldest goes
            self.get_nowait()
            if self._gone:
                self._gone()
        self.put_nowait(item)


def is_key(codec: str, data: bytes) -> bool:
    """Whether a frame can be decoded without the ones before it. H.264 as Annex B."""
    if codec.upper() == "VP8":
        return bool(data) and not data[0] & VP8_INTER
    return any(unit[:1] and unit[0] & NAL_TYPE == IDR for unit in data.split(START_CODE))
