"""What comes in on the tracks of a peer: pictures for the session's eyes, and the original sound.

aiortc decodes every frame, since each needs the ones before it. Of those only so many are looked at as the player wants, the
newest each time: it is made small in a thread of the pool and then goes the way of every picture, through the session's mailbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.video.reformatter import Interpolation, VideoReformatter

from server.audio.original_sound import Sound, Source
from server.protocol.errors import ProtocolError
from server.protocol.media import Kind, Media, Size, StreamId
from server.protocol.values import U32
from server.sessions.host import Host
from server.sessions.hosted import Hosted

HELD_FRAMES = 4
"""aiortc gives a frame of sound when so many more have come (`JitterBuffer(prefetch=4)`)."""
PICTURE_HELD_S = 1 / 30
"""And a picture is here later than its sound, by encoder, decoder and scaling: with this fifteen beeps came 11 ms after their
flashes in the mean, without it 20 ms before."""

Where = Callable[[], Hosted | None]
"""Gives the session that the peer belongs to now, None while or when it has none."""


class Incoming:
    """The tracks of one peer."""

    def __init__(self, host: Host, where: Where, source: Source) -> None:
        self._host, self._where, self._source = host, where, source
        self._smaller = Smaller(host.settings.video_edge)
        self._seq = 0

    async def take(self, track: MediaStreamTrack) -> None:
        """Until it ends."""
        work = self._pictures if track.kind == "video" else self._sound
        try:
            await work(track)
        except MediaStreamError:
            return

    async def _pictures(self, track: MediaStreamTrack) -> None:
        """Each one at a time of its own, so that it does not matter how many come."""
        monotonic = self._host.monotonic
        pace = Pace(self._host.settings.video_fps, monotonic())
        while True:
            await asyncio.sleep(pace.due_s - monotonic())
            frame: object = await track.recv()
            pace.taken(monotonic())
            if (hosted := self._where()) and isinstance(frame, av.VideoFrame):
                await self._show(hosted, frame)
            elif hosted and isinstance(frame, ProtocolError):
                hosted.refuse(monotonic(), frame)

    async def _show(self, hosted: Hosted, frame: av.VideoFrame) -> None:
        came_s = self._host.monotonic()
        media = await self._smaller.media(self._host.pool, frame, self._seq & U32)
        self._seq += 1
        self._host.metrics.frames.labels("taken").inc()
        hosted.picture(came_s, media)

    async def _sound(self, track: MediaStreamTrack) -> None:
        next_pts = None
        while True:
            frame = await track.recv()
            if not isinstance(frame, av.AudioFrame):
                continue
            goes_on, next_pts = frame.pts == next_pts, (frame.pts or 0) + frame.samples
            if hosted := self._where():
                self._hear(hosted, frame, goes_on)

    def _hear(self, hosted: Hosted, frame: av.AudioFrame, goes_on: bool) -> None:
        """16 bits, interleaved, as all of aiortc's decoders give them."""
        now_s, samples = self._host.monotonic(), frame.to_ndarray().tobytes()
        channels = frame.layout.nb_channels
        sound = Sound(self._source, Kind.PCM_S16, frame.sample_rate, channels, samples, goes_on)
        began_s = now_s - (1 + HELD_FRAMES) * sound.seconds
        hosted.original(now_s, sound, began_s + PICTURE_HELD_S + self._host.settings.picture_age_s)


class Pace:
    """So many a second in the mean. `due_s`: when the next one may be taken; what comes before waits.

    One that comes late moves the next by no more than half of what lies between them: else those of a camera that gives just as
    many would wait behind the latest one for ever.
    """

    def __init__(self, per_s: float, now_s: float) -> None:
        self.due_s, self._apart_s = now_s, 1 / per_s

    def taken(self, now_s: float) -> None:
        self.due_s = max(self.due_s + self._apart_s, now_s + self._apart_s / 2)


class Smaller:
    """Frames of any size and form as pictures without a codec, the longer edge `edge` at most."""

    def __init__(self, edge: int) -> None:
        self._edge, self._reformatter = edge, VideoReformatter()

    async def media(self, pool: ThreadPoolExecutor, frame: av.VideoFrame, seq: int) -> Media:
        """Times are those of the track, in microseconds from its first frame on."""
        return await asyncio.get_running_loop().run_in_executor(pool, self._media, frame, seq)

    def _media(self, frame: av.VideoFrame, seq: int) -> Media:
        share = min(1.0, self._edge / max(frame.width, frame.height))
        width, height = max(1, round(frame.width * share)), max(1, round(frame.height * share))
        small = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        at_us = 0 if frame.time is None else max(0, int(frame.time * 1_000_000))
        data, size = small.to_ndarray().tobytes(), Size(width, height)
        return Media(Kind.RGB24, StreamId.VIDEO, seq, at_us, data, size=size)
