"""Music as binary messages: chunks of the core in, one message for each out, numbered."""

from __future__ import annotations

import numpy as np

from engine.frames import F32
from server.delivery import AudioOut
from server.feed import Feed
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, Source, StreamId, encode_media
from server.protocol.messages import AudioFormat
from server.protocol.values import SAFE_INTEGER, U32
from server.resampling import WIRE_RATE, pcm16

KINDS = {"pcm_s16": Kind.PCM_S16, "pcm_f32": Kind.PCM_F32}
DEFAULT = AudioFormat("pcm_s16", WIRE_RATE, 2)


def settled(wanted: AudioFormat) -> AudioFormat:
    """How the music will come when a client would like it so. Raises ProtocolError for a codec that we do not send."""
    if wanted.codec not in KINDS:
        said = f"this server sends {', '.join(KINDS)}, not {wanted.codec}"
        raise ProtocolError(ErrorCode.UNSUPPORTED_CODEC, said, "audio.codec")
    return AudioFormat(wanted.codec, WIRE_RATE, wanted.channels)


class Speaker:
    """One attachment's stream 2."""

    def __init__(self, feed: Feed, form: AudioFormat) -> None:
        self.feed, self.form = feed, form
        self.sent = 0
        self._seq = 0

    def say(self, out: AudioOut, newest_us: int, revision: int) -> bytes | None:
        """A message, None when the resampler gave nothing yet."""
        first, samples = self.feed.push(out)
        if not len(samples):
            return None
        flags = NO_FLAGS
        for flag, holds in (
            (Flag.CONCEALED, out.concealed),
            (Flag.CROSSFADE, out.crossfade),
            (Flag.DISCONTINUITY, out.discontinuity),
        ):
            flags |= flag if holds else NO_FLAGS
        source = Source(newest_us, out.newest_step, out.age_steps & U32, out.seed & SAFE_INTEGER, revision)
        return self._message(first, samples, flags, out.segment & U32, source)

    def end(self) -> bytes:
        """The last message: what the filter held, and the flag."""
        return self._message(*self.feed.flush(), Flag.END)

    def _message(
        self, first: int, samples: F32, flags: Flag, window: int = 0, source: Source | None = None
    ) -> bytes:
        kind = KINDS[self.form.codec]
        payload = (
            pcm16(samples, self.form.channels)
            if kind is Kind.PCM_S16
            else np.repeat(samples[:, None], self.form.channels, axis=1)
        ).tobytes()
        seq, self._seq = self._seq, (self._seq + 1) & U32
        self.sent += len(samples)
        return encode_media(
            Media(kind, StreamId.MUSIC, seq, first, payload, flags, window, len(samples), source)
        )
