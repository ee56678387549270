"""Websocket frames as this load needs them: whole ones out of what a server sends, masked ones for it. RFC 6455, 5.2.

A listener that takes a library's way costs as much as the server does, and both run on the same two cores.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
WHOLE, MASKED = 0x80, 0x80
KEY = bytes(4)
"""Leaves a payload as it is, which is allowed; the server takes it off all the same."""


class Frames:
    """What came and is no whole frame yet."""

    def __init__(self) -> None:
        self._rest = b""  # bound: one frame, and what is read at once

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """Opcode and payload of each whole frame. Raises ValueError for a part of a message, which no server of ours sends."""
        data = self._rest + data if self._rest else data
        view, at = memoryview(data), 0
        while found := _place(data, at):
            begin, end = found
            if data[at] & ~0x0F != WHOLE:
                raise ValueError(f"expected a whole message, found a frame that begins with {data[at]:#x}")
            yield data[at] & 0x0F, view[begin:end]
            at = end
        self._rest = data[at:] if at < len(data) else b""


def _place(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `at` begins and ends, None while it is not there whole."""
    have = len(data) - at
    if have < 2:
        return None
    length, begin = data[at + 1], at + 2
    if length == 126 and have >= 4:
        (length,), begin = struct.unpack_from("!H", data, begin), at + 4
    elif length == 127 and have >= 10:
        (length,), begin = struct.unpack_from("!Q", data, begin), at + 10
    elif length > 125:
        return None
    return (begin, begin + length) if begin + length <= len(data) else None


def masked(opcode: int, payload: bytes) -> bytes:
    """A whole frame of a client."""
    first, length = WHOLE | opcode, len(payload)
    if length <= 125:
        head = bytes((first, MASKED | length))
    elif length <= 0xFFFF:
        head = struct.pack("!BBH", first, MASKED | 126, length)
    else:
        head = struct.pack("!BBQ", first, MASKED | 127, length)
    return b"".join((head, KEY, payload))
