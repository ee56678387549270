"""The music as a track of WebRTC: samples in, packets of Opus out, 20 ms each, paced by absolute deadlines.

Music leaves when it is due and there, one packet every 20 ms; what comes late leaves at once, and the deadlines move with it, so
that the next late one finds room. After five seconds in which every packet had to wait they move back by what all of them waited.
What comes in a heap, as after a stall of the loop, is not waited for. Silence fills in where nothing came, by the same deadlines:
the track's clock goes on while nothing plays.

aiortc's own encoder is set up for telephones (`voip`, 96 kb/s). Packets that are encoded already it sends as they are: so the
encoder here is the one that websockets have, made for music.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from engine.frames import F32
from server.audio.feed import Feed
from server.audio.packing import FRAME, encoder_of, frame_of
from server.audio.resampling import PCM16, WIRE_RATE, pcm16
from server.core.delivery import AudioOut, Delivery, Patience
from server.protocol.media import Kind
from server.protocol.messages import AudioFormat
from server.sessions.hosted import Hosted

CHANNELS = 2
FORM = AudioFormat("opus", WIRE_RATE, CHANNELS)
PACKET_S, TIME_BASE = FRAME / WIRE_RATE, Fraction(1, WIRE_RATE)
SILENCE: PCM16 = np.zeros((FRAME, CHANNELS), np.int16)
LATE_S = 0.1
"""Music that is later than this has stopped: silence."""
MARGIN = 48
"""Samples of silence before the first one. The resampler holds back 24: so a chunk fills a packet and none waits."""
CROWD = 2
"""Packets beyond those of a chunk that may wait in order."""
CALM = 250
"""Packets, five seconds: what all of them waited for is not needed."""
LEAST_SPARE_S = 0.001
"""Less is not worth an uneven packet."""
Frame = tuple[float, PCM16]
"""When it came, and its samples."""


class Music(MediaStreamTrack):
    """waiting_ms: see `PeerLimits`. chunk_ms: what is pushed at once. skipped: told how many samples were left out, at 48 kHz."""

    kind = "audio"

    def __init__(
        self,
        monotonic: Callable[[], float],
        waiting_ms: int,
        chunk_ms: int,
        skipped: Callable[[int], object],
    ) -> None:
        super().__init__()
        self._monotonic, self._skipped = monotonic, skipped
        self._encoder = encoder_of(Kind.OPUS, CHANNELS)
        self._part: PCM16 = np.zeros((MARGIN, CHANNELS), np.int16)  # bound: less than a packet
        self._most = int(waiting_ms / 1000 / PACKET_S)
        self._crowd = int(chunk_ms / 1000 / PACKET_S) + CROWD
        self._frames: deque[Frame] = deque()  # bound: waiting_ms, then the oldest goes
        self._calm, self._spare_s = 0, math.inf  # packets, and what each of them waited at least
        self._change = asyncio.Event()
        self._due_s: float | None = None
        self._plays = False  # the packet before was music
        self._at = 0

    def push(self, samples: PCM16) -> None:
        """[n, 2]; forgotten while nobody takes packets yet."""
        if self._due_s is None:
            return
        joined = np.concatenate((self._part, samples))
        whole = len(joined) // FRAME * FRAME
        self._part = joined[whole:]
        now_s = self._monotonic()
        self._frames.extend((now_s, joined[at : at + FRAME]) for at in range(0, whole, FRAME))
        while len(self._frames) > self._most:
            self._frames.popleft()
            self._skipped(FRAME)
        if self._frames:
            self._change.set()

    async def recv(self) -> av.Packet[Any]:
        """The next packet, when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        return self._packet(await self._next())

    async def _next(self) -> PCM16:
        due_s = self._due_s = self._monotonic() if self._due_s is None else self._due_s
        crowded = len(self._frames) > self._crowd
        if self._plays and not crowded:
            await asyncio.sleep(max(0.0, due_s - self._monotonic()))
        moved = crowded or not self._frames
        frame = await self._music_by(due_s + (LATE_S if self._plays else 0.0))
        self._plays = frame is not None
        if frame is None:
            self._due_s = due_s + PACKET_S
            return SILENCE
        came_s, samples = frame
        self._due_s = (self._monotonic() if moved else due_s) + PACKET_S - self._unneeded_s(came_s)
        return samples

    def _unneeded_s(self, came_s: float) -> float:
        """What the deadlines can do without, once in `CALM` packets; 0 in between."""
        self._calm += 1
        self._spare_s = min(self._spare_s, self._monotonic() - came_s)
        if self._calm < CALM:
            return 0.0
        spare_s, self._calm, self._spare_s = self._spare_s, 0, math.inf
        return spare_s if spare_s >= LEAST_SPARE_S else 0.0

    async def _music_by(self, until_s: float) -> Frame | None:
        """What waits or comes by then."""
        if not self._frames:
            self._change.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, until_s - self._monotonic())):
                    await self._change.wait()
        return self._frames.popleft() if self._frames else None

    def _packet(self, samples: PCM16) -> av.Packet[Any]:
        frame = frame_of(samples, self._at)
        packet = av.Packet(b"".join(bytes(packet) for packet in self._encoder.encode(frame)))
        packet.pts, packet.time_base = self._at, TIME_BASE
        self._at += FRAME
        return packet


class Airing:
    """A session's music onto its client's track: what a `Speaker` is for a websocket. sent, next: as there."""

    def __init__(self, feed: Feed, track: Music) -> None:
        self.feed, self.form, self._track = feed, FORM, track
        self.sent, self.next = 0, feed.next

    def say(self, out: AudioOut, newest_us: int, revision: int) -> Iterator[bytes]:
        """Nothing for the line: the track has it."""
        self._air(*self.feed.push(out))
        return iter(())

    def end(self) -> Iterator[bytes]:
        self._air(*self.feed.flush())
        return iter(())

    def _air(self, first: int, samples: F32) -> None:
        self._track.push(pcm16(samples, CHANNELS))
        self.sent += len(samples)
        self.next = first + len(samples)


class Unheard:
    """The same for a client that only shows pictures, as WHIP's: its music is heard elsewhere."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.form = feed, FORM
        self.sent, self.next = 0, feed.next

    def say(self, out: AudioOut, newest_us: int, revision: int) -> Iterator[bytes]:
        return iter(())

    def end(self) -> Iterator[bytes]:
        return iter(())


class Playing:
    """One player of a session's music by WHEP: it has a turn in each tick. `ended`: called when the session is over."""

    def __init__(self, hosted: Hosted, track: Music) -> None:
        playout = hosted.core.playout
        self._playout, self._track = playout, track
        self.ended: Callable[[], object] = track.stop
        self._delivery = Delivery(Patience(credit=None), playout.ring.end)
        self._feed = hosted.feed(self._delivery.cursor)

    def tick(self, now_s: float) -> None:
        for out in self._delivery.take(self._playout, now_s):
            self._track.push(pcm16(self._feed.push(out)[1], CHANNELS))

    def end(self) -> None:
        self.ended()
