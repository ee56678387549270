"""How large a video's decoder would grow, by what the video says of itself: looked at before anything of it is decoded.

A picture of one colour is a few bytes, whatever its size, and H.264 may have its decoder keep sixteen of them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import Kind

MIB = 1 << 20
START_CODE = b"\x00\x00\x01"
NAL_TYPE, SPS = 0x1F, 7
SLICES, IDR = range(1, 6), 5
"""Units of pictures, and those of keyframes."""
FIRST_SLICE = re.compile(
    START_CODE
    + b"(["
    + b"".join(re.escape(bytes((unit,))) for unit in range(256) if unit & NAL_TYPE in SLICES)
    + b"])"
)
"""Sought for on the event loop: a frame may be a mebibyte of start codes."""
SPS_BYTES = 4096
"""Longer ones than an SPS with all of its scaling lists are none."""
WITH_CHROMA = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244})
"""Profiles whose SPS says how its samples are."""
SAMPLES = {0: 1.5, 1: 1.5, 2: 2.0, 3: 3.0}
"""Of a pixel, by chroma_format_idc; grey is decoded as 4:2:0."""
MACROBLOCK = 16
"""Pixels. What is cropped beyond whole ones is decoded all the same, and counts."""
VP8_INTER, VP8_START = 1, b"\x9d\x01\x2a"
VP8_KEPT = 4
"""The newest picture, and those that it may refer to."""


@dataclass(frozen=True, slots=True)
class Header:
    """kept_bytes: of the pictures that others refer to, and of the newest."""

    width: int
    height: int
    kept_bytes: int


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raises ProtocolError: frame_too_large."""
    if not 0 < width * height <= limits.image_pixels:
        text = f"a picture has at most {limits.image_pixels} pixels, this one {width} x {height}"
        raise ProtocolError(ErrorCode.FRAME_TOO_LARGE, text)


def check_headers(kind: Kind, data: bytes, limits: Limits) -> None:
    """Of a frame of H.264, Annex B, or of VP8; most have none. Raises ProtocolError: frame_too_large, decode_failed."""
    try:
        for header in headers(kind, data):
            check_size(header.width, header.height, limits)
            if header.kept_bytes > limits.kept_bytes:
                most, kept = limits.kept_bytes // MIB, -(-header.kept_bytes // MIB)
                text = f"pictures that are kept for others have at most {most} MiB, this video's {kept}"
                raise ProtocolError(ErrorCode.FRAME_TOO_LARGE, text)
    except (ValueError, KeyError, struct.error):
        raise ProtocolError(ErrorCode.DECODE_FAILED, f"{kind.name}: its header cannot be read") from None


def is_keyframe(kind: Kind, data: bytes) -> bool:
    """Whether a frame of H.264, Annex B, or of VP8 can be decoded without the ones before it."""
    if kind is Kind.VP8:
        return data[3:6] == VP8_START and not data[0] & VP8_INTER
    slice_ = FIRST_SLICE.search(data)
    return slice_ is not None and slice_[1][0] & NAL_TYPE == IDR


def headers(kind: Kind, data: bytes) -> Iterator[Header]:
    """Raises ValueError, KeyError or struct.error for one that is none."""
    if kind is Kind.VP8 and data and not data[0] & VP8_INTER:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 6))
        yield Header(width, height, VP8_KEPT * width * height * 3 // 2)
    elif kind is Kind.H264:
        for unit in data.split(START_CODE)[1:]:
            if unit and unit[0] & NAL_TYPE == SPS:
                yield _sps(_Bits(unit[1:SPS_BYTES].replace(b"\x00\x00\x03", b"\x00\x00")))


def _sps(bits: _Bits) -> Header:
    """Source: ITU-T H.264, 7.3.2.1.1."""
    profile, _, _ = bits.take(8), bits.take(16), bits.unsigned()
    chroma = sample_bytes = 1
    if profile in WITH_CHROMA:
        chroma = bits.unsigned()
        bits.take(chroma == 3)
        sample_bytes = 1 + (max(bits.unsigned(), bits.unsigned()) > 0)
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.unsigned()
    if (order := bits.unsigned()) == 0:
        bits.unsigned()
    elif order == 1:
        bits.take(1)
        for _ in range(2):
            bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
    references, _ = bits.unsigned(), bits.take(1)
    width, height = MACROBLOCK * (bits.unsigned() + 1), MACROBLOCK * (bits.unsigned() + 1)
    fields = 2 - bits.take(1)
    height *= fields
    kept_bytes = (max(references, 1) + 1) * int(width * height * SAMPLES[chroma]) * sample_bytes
    bits.take(fields)
    if bits.take(1):
        across = (bits.unsigned() + bits.unsigned()) * (2 if chroma in (1, 2) else 1)
        down = (bits.unsigned() + bits.unsigned()) * (2 if chroma == 1 else 1) * fields
        width, height = width - min(across, MACROBLOCK - 1), height - min(down, fields * MACROBLOCK - 1)
    return Header(width, height, kept_bytes)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    if not bits.take(1):
        return
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class _Bits:
    """Numbers from a bit stream, in order. Raises ValueError at its end. Source: ITU-T H.264, 9.1."""

    def __init__(self, data: bytes) -> None:
        self._text, self._at = "".join(f"{byte:08b}" for byte in data), 0

    def take(self, count: int) -> int:
        begin, self._at = self._at, self._at + count
        if self._at > len(self._text):
            raise ValueError("it ends too soon")
        return int(self._text[begin : self._at] or "0", 2)

    def unsigned(self) -> int:
        zeros = self._text.index("1", self._at) - self._at
        if zeros > 31:
            raise ValueError("no number of 32 bits")
        self._at += zeros
        return self.take(zeros + 1) - 1

    def signed(self) -> int:
        coded = self.unsigned()
        return (coded + 1) // 2 if coded & 1 else -(coded // 2)
