"""Records between the server and a process of its own: each is MessagePack behind its length."""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec

LENGTH = struct.Struct("<I")


def packed(record: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(record)
    return LENGTH.pack(len(body)) + body


def read(source: BinaryIO) -> bytes:
    """The next record without its length; empty when the other side has gone, be it within a record."""
    head = source.read(LENGTH.size)
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
    body = source.read(length)
    return body if len(body) == length else b""
