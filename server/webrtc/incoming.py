"""What comes in on the tracks of a peer: the session's pictures, and the original sound.

Video is decoded no more here than that of a websocket is: each frame goes to the session as it was encoded. Where it cannot go on
without a keyframe, one is asked for; and now and then while something copies it, which is cut at keyframes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from server.audio.original_sound import Sound, Source
from server.pictures.headers import is_keyframe
from server.pictures.seeing import Watching
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, StreamId
from server.protocol.values import SAFE_INTEGER, U32
from server.sessions.host import Host
from server.sessions.hosted import Hosted
from server.webrtc.receiving import Encoded

HELD_FRAMES = 4
"""aiortc gives a frame of sound when so many more have come (`JitterBuffer(prefetch=4)`)."""
PICTURE_HELD_S = 1 / 60
"""And a picture is here later than its sound, by its encoder, and shown later still where an output encodes it again. With this
the middle one of fifteen beeps came 14 ms after its flash (H.264, copied) and 7 ms before it (VP8)."""
KEYFRAME_EACH_S = 2.0
"""While something copies the video: players cut HLS there, and nobody waits longer for the first picture."""

Where = Callable[[], Hosted | None]
"""Gives the session that the peer belongs to now, None while or when it has none."""


class Incoming:
    """The tracks of one peer."""

    def __init__(self, host: Host, where: Where, source: Source) -> None:
        self._host, self._where, self._source = host, where, source
        self._hosted: Hosted | None = None
        self._way: Watching | None = None  # to it
        self._seq = 0
        self._keyframes = Keyframes()

    def picture(self, frame: Encoded) -> bool:
        """One of the video, as soon as it is whole. Returns whether a keyframe is to be asked for."""
        self._seq = (self._seq + (1 if frame.follows else 2)) & U32  # a number that is missing is a loss
        hosted, now_s = self._where(), self._host.monotonic()
        if hosted is None or hosted.gone or not frame.data:
            return False
        way = self._way_to(hosted)
        self._host.metrics.frames.labels("taken").inc()
        if len(frame.data) > (most := self._host.settings.limits.image_bytes):
            said = f"a picture has at most {most} bytes, this one {len(frame.data)}"
            hosted.refuse(now_s, ProtocolError(ErrorCode.FRAME_TOO_LARGE, said))
            self._seq = (self._seq + 1) & U32
            return True
        key = is_keyframe(frame.kind, frame.data)
        flags, at_us = Flag.KEYFRAME if key else NO_FLAGS, max(0, min(SAFE_INTEGER, frame.at * 100 // 9))
        media = Media(frame.kind, StreamId.VIDEO, self._seq, at_us, frame.data, flags)
        hosted.picture(now_s, media, way)
        return self._keyframes.due(now_s, key, hosted.copying) or way.needs_key

    def _way_to(self, hosted: Hosted) -> Watching:
        if self._way is None or hosted is not self._hosted:
            self.end()
            self._hosted, self._way = hosted, hosted.watch()
        return self._way

    def end(self, reason: str = "") -> None:
        """Nothing comes any more."""
        if self._hosted and self._way:
            self._hosted.leave_way(self._way)
        self._hosted = self._way = None

    async def hear(self, track: MediaStreamTrack) -> None:
        """The sound, until it ends."""
        next_pts = None
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
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
        hosted.original(now_s, sound, began_s + PICTURE_HELD_S)


class Keyframes:
    """When the next one is due of video that is copied."""

    def __init__(self) -> None:
        self._copying: object = None
        self._newest_s = -math.inf  # since the same things copy it

    def due(self, now_s: float, key: bool, copying: tuple[object, ...]) -> bool:
        """At each picture. key: it is one. copying: what copies it."""
        if copying != self._copying:
            self._copying, self._newest_s = copying, -math.inf
        if key:
            self._newest_s = now_s
        return any(copying) and now_s - self._newest_s >= KEYFRAME_EACH_S
