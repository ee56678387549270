"""From a picture as it travelled to the square that the player's eyes want. Called beside the event loop: it takes a while.

A picture's size is read from its header before anything is decoded; a decoder refuses what is larger, too. H.264 and VP8 need
what came before: after a loss they wait for a keyframe.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from engine.errors import MediaError
from engine.frames import U8
from engine.media.pixels import Scaler
from server.pictures.headers import check_headers, check_size
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.media import RAW, Kind, Media

T = TypeVar("T")
MOST_HALVINGS = 3
MOST_SCANS = 64
"""Of a JPEG, which has ten or so when it is a progressive one; each costs as much as a picture."""
KEPT_PIXELS = 1 << 20
"""A still picture's decoder is kept for the next one of the session when the picture is no larger: its buffers stay as large."""
PASSED_OVER = frozenset({b"iCCP", b"zTXt", b"iTXt"})
"""PNG's chunks that are no part of the picture as we see it, and may be a thousand times as large as they look."""

DECODERS = {
    Kind.JPEG: "mjpeg",
    Kind.WEBP: "webp",
    Kind.PNG: "png",
    Kind.H264: "h264",
    Kind.VP8: "vp8",
}
CHAINED = frozenset({Kind.H264, Kind.VP8})
"""Codecs of which a picture needs the ones before it."""
SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's frame headers."""


class Eyes:
    """One way's decoder. side: S."""

    def __init__(self, side: int, limits: Limits = DEFAULTS) -> None:
        self._limits = limits
        self._side, self._scaler = side, Scaler(side)
        self._open: tuple[Kind, int, VideoCodecContext] | None = (
            None  # the codec, what it halves, its decoder
        )
        self._passed: av.VideoFrame | None = None  # the newest, when nobody looked at it

    def see(self, media: Media) -> U8 | None:
        """uint8 [S, S, 3], None when the codec needs more first. Raises ProtocolError: decode_failed, frame_too_large."""
        self._passed = None
        return self._try(media, self._scaler.square, self._side)

    def pass_over(self, media: Media) -> None:
        """Decode it for those that follow. Raises as `see` does."""
        self._passed = self._try(media, lambda frame: frame, self._side)

    def look_back(self) -> U8 | None:
        """The newest one, if it was passed over."""
        frame, self._passed = self._passed, None
        return None if frame is None else self._scaler.square(frame)

    def frame(self, media: Media) -> av.VideoFrame | None:
        """The same before it is a square."""
        return self._try(media, lambda frame: frame)

    def _try(self, media: Media, finish: Callable[[av.VideoFrame], T], side: int | None = None) -> T | None:
        try:
            frame = self._decode(media, side)
            return None if frame is None else finish(frame)
        except (FFmpegError, MediaError, ValueError, struct.error, IndexError) as error:
            self._open = None
            raise ProtocolError(ErrorCode.DECODE_FAILED, f"{media.kind.name}: {error}") from None

    def _decode(self, media: Media, side: int | None) -> av.VideoFrame | None:
        """side: of the square that becomes of it, None when it is wanted whole."""
        if media.kind in RAW:
            return self._raw(media)
        halvings = 0
        if media.kind in CHAINED:
            check_headers(media.kind, media.payload, self._limits)
        else:
            width, height = still_size(media.kind, media.payload)
            check_size(width, height, self._limits)
            halvings = halvings_of(media.kind, width, height, side)
        decoder = self._decoder(media.kind, halvings)
        frames = decoder.decode(av.Packet(harmless(media.kind, media.payload)))
        if not frames and media.kind in CHAINED:
            return None
        if not frames:  # it is told that nothing follows, and must be opened again then
            self._open = None
            frames = decoder.decode(None)
        if not frames:
            raise ValueError("no picture in it")
        if media.kind not in CHAINED and frames[-1].width * frames[-1].height > KEPT_PIXELS:
            self._open = None
        check_size(frames[-1].width, frames[-1].height, self._limits)
        return frames[-1]

    def _decoder(self, kind: Kind, halvings: int) -> VideoCodecContext:
        if self._open and self._open[:2] == (kind, halvings):
            return self._open[2]
        decoder = av.CodecContext.create(DECODERS[kind], "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(self._limits.image_pixels), "flags": "low_delay"}
        if halvings:
            decoder.options |= {"lowres": str(halvings)}
        self._open = kind, halvings, decoder
        return decoder

    def _raw(self, media: Media) -> av.VideoFrame:
        assert media.size is not None  # the protocol saw to it
        width, height = media.size.width, media.size.height
        check_size(width, height, self._limits)
        data = np.frombuffer(media.payload, np.uint8)
        if media.kind is Kind.RGB24:
            return av.VideoFrame.from_ndarray(data.reshape(height, width, 3), format="rgb24")
        return av.VideoFrame.from_ndarray(data.reshape(height * 3 // 2, width), format="yuv420p")


def halvings_of(kind: Kind, width: int, height: int, side: int | None) -> int:
    """How often a JPEG is halved while it is decoded, which costs less than nothing: it stays as large as `side`."""
    if kind is not Kind.JPEG or side is None:
        return 0
    return min(MOST_HALVINGS, max(0, (min(width, height) // side).bit_length() - 1))


def harmless(kind: Kind, data: bytes) -> bytes:
    """The same picture without what a decoder would only spend time and memory on. Raises ValueError when that is the picture."""
    if kind is Kind.JPEG and (scans := data.count(b"\xff\xda")) > MOST_SCANS:
        raise ValueError(f"it has {scans} scans, of {MOST_SCANS} at most")
    return _plain_png(data) if kind is Kind.PNG else data


def _plain_png(data: bytes) -> bytes:
    kept, at, begin = bytearray(), 8, 0
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in PASSED_OVER:
            kept += data[begin:at]
            begin = end
        at = end
    return bytes(kept + data[begin:]) if begin else data


def still_size(kind: Kind, data: bytes) -> tuple[int, int]:
    """Width and height by the header. Raises ValueError, IndexError or struct.error when there is none."""
    if kind is Kind.PNG and data[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if kind is Kind.WEBP and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    if kind is Kind.JPEG and data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    raise ValueError(f"this does not begin as {kind.name} does")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("no frame header")


def _webp_size(data: bytes) -> tuple[int, int]:
    chunk = data[12:16]
    if chunk == b"VP8X":
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
