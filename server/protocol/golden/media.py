"""Binary messages worth an example: each kind, each extension, and what an older side meets."""

from __future__ import annotations

import struct

from server.protocol.media import EXTENSION, HEADER, Flag, Kind, Media, Size, Source, StreamId
from server.protocol.values import SAFE_INTEGER, U32

SOURCE = Source(newest_us=11_900_000, newest_step=595, age_steps=12, seed=SAFE_INTEGER, revision=3)
STEREO = struct.pack("<4h", 0, -32768, 32767, 1)
MEDIA: dict[str, tuple[str, Media]] = {
    "jpeg": ("client", Media(Kind.JPEG, StreamId.VIDEO, 0, 0, b"\xff\xd8\xff\xd9", Flag.KEYFRAME)),
    "webp": ("client", Media(Kind.WEBP, StreamId.VIDEO, 1, 250_000, b"RIFF\x04\0\0\0WEBP", Flag.KEYFRAME)),
    "png": ("client", Media(Kind.PNG, StreamId.VIDEO, 2, 500_000, b"\x89PNG\r\n\x1a\n", Flag.KEYFRAME)),
    "h264_delta": ("client", Media(Kind.H264, StreamId.VIDEO, 3, 533_333, b"\0\0\0\x01\x41\x9a")),
    "vp8_last_seq_and_ts": ("client", Media(Kind.VP8, StreamId.VIDEO, U32, SAFE_INTEGER, b"\x10\x02\x00")),
    "video_ends": ("client", Media(Kind.JPEG, StreamId.VIDEO, 4, 750_000, b"", Flag.END)),
    "original_sound": (
        "client",
        Media(Kind.PCM_S16, StreamId.ORIGINAL, 0, 48_000, b"\1\0\2\0\3\0\4\0", dur=4),
    ),
    "music_with_source": (
        "server",
        Media(Kind.PCM_S16, StreamId.MUSIC, 7, 595_200, STEREO, window=1, dur=2, source=SOURCE),
    ),
    "music_goes_on": (
        "server",
        Media(Kind.PCM_S16, StreamId.MUSIC, 8, 595_202, STEREO, window=1, dur=2),
    ),
    "music_concealed": (
        "server",
        Media(
            Kind.PCM_S16,
            StreamId.MUSIC,
            9,
            600_000,
            STEREO,
            Flag.CONCEALED | Flag.DISCONTINUITY | Flag.CROSSFADE,
            window=1,
            dur=2,
        ),
    ),
    "music_float": (
        "server",
        Media(Kind.PCM_F32, StreamId.MUSIC, 10, 0, struct.pack("<2f", 0.5, -0.25), dur=2, source=SOURCE),
    ),
    "music_opus": ("server", Media(Kind.OPUS, StreamId.MUSIC, 11, 960, b"\xfc\xff\xfe", dur=960)),
    "music_flac": ("server", Media(Kind.FLAC, StreamId.MUSIC, 12, 4_096, b"\xff\xf8\xc9\x08", dur=4_096)),
    "music_ends": ("server", Media(Kind.PCM_S16, StreamId.MUSIC, 13, 604_800, b"", Flag.END)),
}
RAW = Media(Kind.I420, StreamId.VIDEO, 5, 1_000_000, bytes(range(24)), Flag.KEYFRAME, size=Size(4, 4))
RAW_RGB = Media(Kind.RGB24, StreamId.VIDEO, 6, 1_125_000, bytes(range(27)), Flag.KEYFRAME, size=Size(3, 3))


def header(**changes: int) -> bytes:
    """A header as numbers; what is not named is that of a smallest JPEG."""
    fields = {"kind": 1, "flags": 1, "stream": 0, "seq": 0, "ts": 0, "window": 0, "dur": 0, "ext_len": 0}
    return HEADER.pack(*(fields | changes).values())


def extension(kind: int, value: bytes) -> bytes:
    return EXTENSION.pack(kind, len(value)) + value


STRANGE: dict[str, tuple[str, bytes, Media | None]] = {
    "unknown_kind": ("server", header(kind=0x77, stream=2) + b"?", None),
    "unknown_stream": ("server", header(kind=0x10, stream=9, dur=1) + b"\0\0", None),
    "unknown_flags": (
        "client",
        header(flags=0b11000001) + b"\xff",
        Media(Kind.JPEG, StreamId.VIDEO, 0, 0, b"\xff", Flag.KEYFRAME),
    ),
    "unknown_extension": (
        "client",
        header(flags=33, ext_len=12) + extension(999, b"tomorrow") + b"\xff",
        Media(Kind.JPEG, StreamId.VIDEO, 0, 0, b"\xff", Flag.KEYFRAME),
    ),
    "longer_source": (
        "server",
        header(kind=0x11, flags=32, stream=2, dur=960, ext_len=40)
        + extension(1, struct.pack("<QIIQIIi", 5, 4, 3, 2, 1, 0, -1))
        + b"\xfc",
        Media(Kind.OPUS, StreamId.MUSIC, 0, 0, b"\xfc", dur=960, source=Source(5, 4, 3, 2, 1)),
    ),
}
"""Name: direction, bytes, what is understood of them (None: nothing)."""
