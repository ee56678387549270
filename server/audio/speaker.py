"""Music as binary messages: chunks of the core in, numbered messages out, each with the index of its first sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from server.audio.feed import Feed
from server.audio.packing import Payload, packer
from server.audio.resampling import WIRE_RATE
from server.core.delivery import AudioOut
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import NO_FLAGS, Flag, Kind, Media, Source, StreamId, encode_media
from server.protocol.messages import AudioFormat
from server.protocol.values import SAFE_INTEGER, U32

KINDS = {"pcm_s16": Kind.PCM_S16, "pcm_f32": Kind.PCM_F32, "opus": Kind.OPUS, "flac": Kind.FLAC}
DEFAULT = AudioFormat("pcm_s16", WIRE_RATE, 2)


def settled(wanted: AudioFormat) -> AudioFormat:
    """How the music will come when a client would like it so. Raises ProtocolError for a codec that we do not send."""
    if wanted.codec not in KINDS:
        said = f"this server sends {', '.join(KINDS)}, not {wanted.codec}"
        raise ProtocolError(ErrorCode.UNSUPPORTED_CODEC, said, "audio.codec")
    return AudioFormat(wanted.codec, WIRE_RATE, wanted.channels)


class Outlet(Protocol):
    """Where one attachment's music goes. sent: samples. next: one after the last sample that was sent."""

    feed: Feed
    form: AudioFormat
    sent: int
    next: int

    def say(self, out: AudioOut, newest_us: int, revision: int) -> Iterator[bytes]:
        """What is to be put on the line for this chunk."""

    def end(self) -> Iterator[bytes]:
        """The same for what was held back."""


class Speaker:
    """One attachment's stream 2. sent: samples. next: one after the last sample that was sent."""

    def __init__(self, feed: Feed, form: AudioFormat) -> None:
        self.feed, self.form = feed, form
        self.sent, self.next = 0, feed.next
        self._kind = KINDS[form.codec]
        self._packer = packer(self._kind, form.channels)
        self._seq = 0
        self._flags = NO_FLAGS  # of chunks that wait for a message

    def say(self, out: AudioOut, newest_us: int, revision: int) -> Iterator[bytes]:
        """The messages that are complete with this chunk; a message has the source of the chunk that completed it."""
        first, samples = self.feed.push(out)
        self.next = first - self._packer.held
        if flags := _flags(out):
            self._flags |= flags
        source = Source(newest_us, out.newest_step, out.age_steps & U32, out.seed & SAFE_INTEGER, revision)
        for payload in self._packer.pack(samples):
            yield self._message(payload, out.segment & U32, source)

    def end(self) -> Iterator[bytes]:
        """The last messages: what the filter and the frame held; the very last has the flag."""
        first, samples = self.feed.flush()
        self.next = first - self._packer.held
        payloads = [*self._packer.pack(samples), *self._packer.finish()]
        for payload in payloads[:-1]:
            yield self._message(payload)
        self._flags |= Flag.END
        yield self._message(payloads[-1] if payloads else (0, b""))

    def _message(self, payload: Payload, window: int = 0, source: Source | None = None) -> bytes:
        count, data = payload
        seq, first, flags = self._seq, self.next, self._flags
        self._seq, self._flags = (seq + 1) & U32, NO_FLAGS
        self.next += count
        self.sent += count
        return encode_media(Media(self._kind, StreamId.MUSIC, seq, first, data, flags, window, count, source))


def _flags(out: AudioOut) -> Flag:
    if not (out.concealed or out.crossfade or out.discontinuity):
        return NO_FLAGS
    flags = Flag.CONCEALED if out.concealed else NO_FLAGS
    flags |= Flag.CROSSFADE if out.crossfade else NO_FLAGS
    return flags | (Flag.DISCONTINUITY if out.discontinuity else NO_FLAGS)
