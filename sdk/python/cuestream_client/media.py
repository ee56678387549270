"""Binary messages of `cuestream.v1`: a header of 24 little-endian bytes, extensions, a payload.

    0 kind u8 | 1 flags u8 | 2 stream u16 | 4 seq u32 | 8 ts u64 | 16 window u32 | 20 dur u16 | 22 ext_len u16

An extension is `type u16, length u16, value`. Unknown kinds and streams are None, unknown extensions and flags are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NoReturn

from cuestream_client.errors import ProtocolError
from cuestream_client.messages import SAFE_INTEGER

HEADER = struct.Struct("<BBHIQIHH")
EXTENSION = struct.Struct("<HH")
SOURCE = struct.Struct("<QIIQI4x")
SIZE = struct.Struct("<HH")


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
    DISCONTINUITY = 2
    CONCEALED = 4
    END = 8
    CROSSFADE = 16
    EXTENDED = 32


class StreamId(IntEnum):
    VIDEO = 0
    ORIGINAL = 1
    MUSIC = 2


SOURCE_TYPE, SIZE_TYPE = 1, 2
NO_FLAGS = Flag(0)
SHOWN_FLAGS = 31
"""All but the one for extensions, which is set by whether there are any."""
FIRST_AUDIO = 0x10
RAW = frozenset({Kind.I420, Kind.RGB24})
SAMPLE_BYTES = {Kind.PCM_S16: 2, Kind.PCM_F32: 4}


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Bytes of one binary message."""

    image_bytes: int = 1024 * 1024
    audio_bytes: int = 256 * 1024
    ext_bytes: int = 1024
    raw_video: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """What made a stretch of music: the newest picture that it knew (capture time, and as a step), how old that is at the end
    of the stretch, the seed, the revision of the configuration."""

    newest_us: int
    newest_step: int
    age_steps: int
    seed: int
    revision: int


@dataclass(frozen=True, slots=True)
class Size:
    """Of a raw picture, pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Media:
    """One binary message. `ts`: capture time in microseconds of a picture, index of the first sample of sound."""

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


LIMITS = MediaLimits()


def encode_media(media: Media) -> bytes:
    """Raises struct.error when a number does not fit its field."""
    ext = b"".join(_packed(media))
    flags = media.flags | (Flag.EXTENDED if ext else NO_FLAGS)
    head = (media.kind, flags, media.stream, media.seq, media.ts, media.window, media.dur, len(ext))
    return HEADER.pack(*head) + ext + media.payload


def decode_media(raw: bytes, limits: MediaLimits = LIMITS) -> Media | None:
    """A binary message, None when its kind or stream is unknown. Raises ProtocolError."""
    if len(raw) > max(limits.image_bytes, limits.audio_bytes):
        raise ProtocolError("message_too_large", f"a binary message of {len(raw)} bytes")
    if len(raw) < HEADER.size:
        _refuse(f"a binary message has at least {HEADER.size} bytes, this one {len(raw)}")
    kind, flags, stream, seq, ts, window, dur, ext_len = HEADER.unpack_from(raw)
    if kind not in KINDS or stream not in STREAMS:
        return None
    _check_header(Kind(kind), StreamId(stream), ts, len(raw), limits)
    if (ext_len > 0) != bool(flags & Flag.EXTENDED):
        _refuse("the flag for extensions and their length contradict each other")
    if ext_len > limits.ext_bytes or ext_len % 4 or HEADER.size + ext_len > len(raw):
        _refuse(f"extensions of {ext_len} bytes: not a multiple of 4, or too long")
    source, size = _extensions(raw[HEADER.size : HEADER.size + ext_len])
    payload = bytes(raw[HEADER.size + ext_len :])
    shown = Flag(flags & SHOWN_FLAGS)
    media = Media(Kind(kind), StreamId(stream), seq, ts, payload, shown, window, dur, source, size)
    _check_payload(media)
    return media


KINDS = frozenset(Kind)
STREAMS = frozenset(StreamId)


def newer(seq: int, than: int) -> bool:
    """Whether a sequence number comes after another one. Source: RFC 1982, with 32 bits."""
    return 0 < (seq - than) % 2**32 < 2**31


def _packed(media: Media) -> Iterator[bytes]:
    if media.source is not None:
        s = media.source
        value = SOURCE.pack(s.newest_us, s.newest_step, s.age_steps, s.seed, s.revision)
        yield EXTENSION.pack(SOURCE_TYPE, len(value)) + value
    if media.size is not None:
        yield EXTENSION.pack(SIZE_TYPE, SIZE.size) + SIZE.pack(media.size.width, media.size.height)


def _check_header(kind: Kind, stream: StreamId, ts: int, length: int, limits: MediaLimits) -> None:
    is_audio = kind >= FIRST_AUDIO
    if is_audio != (stream is not StreamId.VIDEO):
        _refuse(f"{kind.name} does not travel on stream {stream.value}")
    if length > (limits.audio_bytes if is_audio else limits.image_bytes):
        raise ProtocolError("message_too_large", f"{kind.name} of {length} bytes")
    if ts > SAFE_INTEGER:
        _refuse("ts is at most 2**53 - 1")
    if kind in RAW and not limits.raw_video:
        raise ProtocolError("unsupported_codec", "raw pictures are not taken here")


def _extensions(block: bytes) -> tuple[Source | None, Size | None]:
    found: dict[int, bytes] = {}
    for kind, value in _split(block):
        if kind in found:
            _refuse(f"extension {kind} stands there twice")
        found[kind] = value
    source = Source(*_value(SOURCE, found[SOURCE_TYPE])) if SOURCE_TYPE in found else None
    if source is not None and max(source.newest_us, source.seed) > SAFE_INTEGER:
        _refuse("newest_us and seed are at most 2**53 - 1")
    return source, Size(*_value(SIZE, found[SIZE_TYPE])) if SIZE_TYPE in found else None


def _split(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(block):
        kind, length = EXTENSION.unpack_from(block, at)
        at += EXTENSION.size
        if length % 4 or at + length > len(block):
            _refuse(f"extension {kind} has a length of {length}")
        yield kind, block[at : at + length]
        at += length


def _value(layout: struct.Struct, value: bytes) -> tuple[int, ...]:
    if len(value) < layout.size:
        _refuse(f"an extension of {len(value)} bytes has at least {layout.size}")
    return layout.unpack_from(value)


def _check_payload(media: Media) -> None:
    length = len(media.payload)
    if not length:
        if Flag.END not in media.flags:
            _refuse("a message without a payload")
        return
    if media.kind in SAMPLE_BYTES and length not in [
        media.dur * SAMPLE_BYTES[media.kind] * c for c in (1, 2)
    ]:
        _refuse(f"{length} bytes are not {media.dur} samples of one or two channels")
    if media.kind in RAW:
        size = media.size or Size(0, 0)
        odd = media.kind is Kind.I420 and (size.width % 2 or size.height % 2)
        if odd or size.width * size.height * 3 // (2 if media.kind is Kind.I420 else 1) != length:
            _refuse(f"{length} bytes are not {media.kind.name} of {size.width} by {size.height} pixels")


def _refuse(text: str) -> NoReturn:
    raise ProtocolError("invalid_media", text)
