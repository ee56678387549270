"""Binary messages: a header of 24 bytes, extensions, a payload. Pictures and original sound go up, music comes down.

Little-endian. Offsets are those of `FIELDS`, which the documentation and the TypeScript constants are made from:

    0 kind u8 | 1 flags u8 | 2 stream u16 | 4 seq u32 | 8 ts u64 | 16 window u32 | 20 dur u16 | 22 ext_len u16

An extension is `type u16, length u16, value`. Every length is a multiple of 4, so a payload begins at a multiple of 4 and a
browser lays an Int16Array or Float32Array over it without a copy. Unknown extensions are skipped, unknown kinds are not an
error. Whether a payload is a picture is not known here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NoReturn, TypeAlias

import msgspec

from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.values import SAFE_INTEGER

FIELDS = {
    "kind": "B",
    "flags": "B",
    "stream": "H",
    "seq": "I",
    "ts": "Q",
    "window": "I",
    "dur": "H",
    "ext_len": "H",
}
"""The header in order, as letters of `struct`."""
HEADER = struct.Struct("<" + "".join(FIELDS.values()))
EXTENSION = struct.Struct("<HH")
ALIGNMENT = 4


class Kind(IntEnum):
    JPEG = 0x01
    WEBP = 0x02
    H264 = 0x03
    VP8 = 0x04
    I420 = 0x05
    PNG = 0x06
    RGB24 = 0x07
    PCM_S16 = 0x10
    OPUS = 0x11
    FLAC = 0x12
    PCM_F32 = 0x13


class Flag(IntFlag):
    KEYFRAME = 1
    """The payload can be decoded without the ones before it."""
    DISCONTINUITY = 2
    """`ts` does not go on where the message before ended."""
    CONCEALED = 4
    """The sound was looped because the music was late."""
    END = 8
    """Nothing follows on this stream; the payload may be empty."""
    CROSSFADE = 16
    """The sound begins in a crossfade from what was heard before."""
    EXTENDED = 32
    """`ext_len` is above 0."""


class StreamId(IntEnum):
    VIDEO = 0
    ORIGINAL = 1
    """The video's own sound: never stored, the music ducks under it, outputs with pictures have it."""
    MUSIC = 2


class Extension(IntEnum):
    SOURCE = 1
    SIZE = 2


NO_FLAGS = Flag(0)
KNOWN_FLAGS = Flag(63)
KINDS = {kind.value: kind for kind in Kind}
STREAMS = {stream.value: stream for stream in StreamId}
FLAGS = tuple(Flag(bits) & KNOWN_FLAGS & ~Flag.EXTENDED for bits in range(256))
"""Of a received byte, those that mean something beyond the header. Looked up: to make enumerations is slow."""
EXTENDED, END = int(Flag.EXTENDED), int(Flag.END)
FIRST_AUDIO = 0x10
PLACES = {
    StreamId.VIDEO: range(0x00, FIRST_AUDIO),
    StreamId.ORIGINAL: range(FIRST_AUDIO, 0x20),
    StreamId.MUSIC: range(FIRST_AUDIO, 0x20),
}
"""Kinds of each stream."""
UP = frozenset({StreamId.VIDEO, StreamId.ORIGINAL})
"""Streams that a client sends."""
RAW = frozenset({Kind.I420, Kind.RGB24})
"""Pictures without a codec, whose length follows from their size."""
SAMPLE_BYTES = {Kind.PCM_S16: 2, Kind.PCM_F32: 4}
CHANNELS = (1, 2)


class Source(msgspec.Struct, frozen=True, gc=False):
    """What made a stretch of music. 32 bytes: Q newest_us, I newest_step, I age_steps, Q seed, I revision, I zero."""

    newest_us: int
    """Capture time of the newest picture that the music knew, microseconds on the client's clock."""
    newest_step: int
    """The same as a step of the stream."""
    age_steps: int
    """How old that picture is at the end of the stretch."""
    seed: int
    revision: int
    """Of the configuration."""


class Size(msgspec.Struct, frozen=True, gc=False):
    """Of a raw picture, pixels. 4 bytes: H width, H height."""

    width: int
    height: int


SOURCE = struct.Struct("<QIIQI4x")
SIZE = struct.Struct("<HH")


class Media(msgspec.Struct, frozen=True, gc=False):
    """One binary message. `ts`: capture time in microseconds of a picture, index of the first sample of sound.

    `window`: the segment that made the music. `dur`: samples of each channel.
    """

    kind: Kind
    stream: StreamId
    seq: int
    ts: int
    payload: bytes
    flags: Flag = NO_FLAGS
    window: int = 0
    dur: int = 0
    source: Source | None = None
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class UnknownKind:
    """A message of a kind or a stream that this version does not know. It is left alone."""

    kind: int
    stream: int


Extensions: TypeAlias = dict[int, bytes]


def decode_media(raw: bytes, limits: Limits = DEFAULTS) -> Media | UnknownKind:
    """Raises ProtocolError."""
    if len(raw) > max(limits.image_bytes, limits.audio_bytes):
        _too_large(limits)
    if len(raw) < HEADER.size:
        _refuse(f"a binary message has at least {HEADER.size} bytes, this one {len(raw)}")
    kind, flags, stream, seq, ts, window, dur, ext_len = HEADER.unpack_from(raw)
    if kind not in KINDS or stream not in STREAMS:
        return UnknownKind(kind, stream)
    known, place = KINDS[kind], STREAMS[stream]
    _check_header(known, place, ts, len(raw), limits)
    found = _extensions(raw, flags, ext_len, limits)
    source = _source(found[Extension.SOURCE]) if Extension.SOURCE in found else None
    size = _size(found[Extension.SIZE]) if Extension.SIZE in found else None
    payload = bytes(raw[HEADER.size + ext_len :])
    media = Media(known, place, seq, ts, payload, FLAGS[flags], window, dur, source, size)
    _check_payload(media)
    return media


def encode_media(media: Media) -> bytes:
    """Raises struct.error when a number does not fit its field."""
    ext = b"".join(_packed(media))
    flags = int(media.flags) | (EXTENDED if ext else 0)
    header = HEADER.pack(
        media.kind, flags, media.stream, media.seq, media.ts, media.window, media.dur, len(ext)
    )
    return header + ext + media.payload


def newer(seq: int, than: int) -> bool:
    """Whether a sequence number comes after another one. Source: RFC 1982, with 32 bits."""
    return 0 < (seq - than) % 2**32 < 2**31


def _check_header(kind: Kind, stream: StreamId, ts: int, length: int, limits: Limits) -> None:
    if kind not in PLACES[stream]:
        _refuse(f"{kind.name} does not travel on stream {stream.value}")
    if length > (limits.audio_bytes if kind >= FIRST_AUDIO else limits.image_bytes):
        _too_large(limits)
    if ts > SAFE_INTEGER:
        _refuse("ts is at most 2**53 - 1")
    if kind in RAW and not limits.raw_video:
        raise ProtocolError(ErrorCode.UNSUPPORTED_CODEC, "raw pictures are not taken here")


def _extensions(raw: bytes, flags: int, ext_len: int, limits: Limits) -> Extensions:
    if (ext_len > 0) != bool(flags & EXTENDED):
        _refuse("the flag for extensions and their length contradict each other")
    if ext_len > limits.ext_bytes or ext_len % ALIGNMENT or HEADER.size + ext_len > len(raw):
        _refuse(f"extensions of {ext_len} bytes: not a multiple of {ALIGNMENT}, or too long")
    found: Extensions = {}
    for kind, value in _split(raw[HEADER.size : HEADER.size + ext_len]):
        if kind in found:
            _refuse(f"extension {kind} stands there twice")
        found[kind] = value
    return found


def _split(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(block):
        kind, length = EXTENSION.unpack_from(block, at)
        at += EXTENSION.size
        if length % ALIGNMENT or at + length > len(block):
            _refuse(f"extension {kind} has a length of {length}")
        yield kind, block[at : at + length]
        at += length


def _source(value: bytes) -> Source:
    if len(value) < SOURCE.size:
        _refuse(f"a source extension has at least {SOURCE.size} bytes")
    source = Source(*SOURCE.unpack_from(value))
    if max(source.newest_us, source.seed) > SAFE_INTEGER:
        _refuse("newest_us and seed are at most 2**53 - 1")
    return source


def _size(value: bytes) -> Size:
    if len(value) < SIZE.size:
        _refuse(f"a size extension has at least {SIZE.size} bytes")
    return Size(*SIZE.unpack_from(value))


def _packed(media: Media) -> Iterator[bytes]:
    if media.source is not None:
        s = media.source
        value = SOURCE.pack(s.newest_us, s.newest_step, s.age_steps, s.seed, s.revision)
        yield EXTENSION.pack(Extension.SOURCE, len(value)) + value
    if media.size is not None:
        yield EXTENSION.pack(Extension.SIZE, SIZE.size) + SIZE.pack(media.size.width, media.size.height)


def _check_payload(media: Media) -> None:
    if not media.payload:
        if not int(media.flags) & END:
            _refuse("a message without a payload")
        return
    if media.kind in SAMPLE_BYTES:
        _check_samples(media, SAMPLE_BYTES[media.kind])
    if media.kind in RAW:
        _check_raw(media)


def _check_samples(media: Media, sample_bytes: int) -> None:
    lengths = [media.dur * sample_bytes * channels for channels in CHANNELS]
    if len(media.payload) not in lengths:
        _refuse(f"{len(media.payload)} bytes are not {media.dur} samples of one or two channels")


def _check_raw(media: Media) -> None:
    if media.size is None:
        _refuse(f"a picture of {media.kind.name} has a size extension")
    width, height = media.size.width, media.size.height
    odd = media.kind is Kind.I420 and (width % 2 or height % 2)
    if odd or raw_bytes(media.kind, width, height) != len(media.payload):
        _refuse(f"{len(media.payload)} bytes are not {media.kind.name} of {width} by {height} pixels")


def raw_bytes(kind: Kind, width: int, height: int) -> int:
    """Length of a raw picture. I420 has half a sample of each colour difference for a pixel; RGB24 has three bytes."""
    return width * height * 3 // (2 if kind is Kind.I420 else 1)


def _too_large(limits: Limits) -> NoReturn:
    text = f"a picture has at most {limits.image_bytes} bytes, a stretch of sound {limits.audio_bytes}"
    raise ProtocolError(ErrorCode.MESSAGE_TOO_LARGE, text)


def _refuse(text: str) -> NoReturn:
    raise ProtocolError(ErrorCode.INVALID_MEDIA, text)
