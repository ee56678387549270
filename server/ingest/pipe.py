"""What a worker writes and the server reads, over a pipe: records of a bounded size, each checked before it is believed.

u8 kind, u8 0, u16 width, u16 height, u32 length, i64 time in microseconds, then `length` bytes

Times are those of the machine's monotonic clock: when a picture is shown, when a stretch of sound begins.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import msgspec
from msgspec import Struct

HEAD = struct.Struct("<BxHHIq")
SOUND_RATE, SAMPLE_BYTES = 48_000, 2
CHANNELS = (1, 2)
MOST_SOUND_BYTES = 32 * 1024
MOST_NOTE_BYTES = 4096
MOST_TEXT = 240


class Kind(IntEnum):
    PICTURE = 1  # RGB24, rows from the top
    SOUND = 2  # the original sound, 16 bits, interleaved; width: channels; height: 1 when it goes on from the one before
    NOTE = 3  # JSON, see Note
    ALIVE = 4  # a picture stands on purpose


class Job(Struct, frozen=True):
    """What a worker is to do; the first line that it reads. edge: of the pictures that it gives, the longer side."""

    url: str
    listen: bool
    edge: int
    fps: float
    private: bool
    files: str | None
    image_pixels: int
    packet_bytes: int
    connect_s: float
    silence_s: float
    memory_bytes: int
    cpu_s: float


class Note(Struct, frozen=True):
    """That a publisher is waited for, that a video was found, and how it ended, once each.

    over: it is not begun again, for it would end so again.
    """

    what: Literal["listening", "opened", "ended", "failed", "forbidden"]
    text: str = ""
    over: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    kind: Kind
    width: int
    height: int
    time_us: int
    payload: bytes


class Broken(Exception):
    """What came is no record."""


def pack(record: Record) -> bytes:
    head = HEAD.pack(record.kind, record.width, record.height, len(record.payload), record.time_us)
    return head + record.payload


def note(what: Note) -> Record:
    text = what.text if len(what.text) <= MOST_TEXT else what.text[: MOST_TEXT - 1] + "…"
    return Record(Kind.NOTE, 0, 0, 0, msgspec.json.encode(msgspec.structs.replace(what, text=text)))


async def read(reader: asyncio.StreamReader, edge: int) -> Record | None:
    """The next record, None at the end. edge: pixels that a side may have. Raises Broken."""
    try:
        number, width, height, length, time_us = HEAD.unpack(await reader.readexactly(HEAD.size))
        kind = Kind(number)
        if width > edge or height > edge or length != _length(kind, width, height, length):
            raise Broken(f"a {kind.name.lower()} of {width} x {height} in {length} bytes")
        return Record(kind, width, height, max(0, time_us), await reader.readexactly(length))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Broken("the worker broke off") from None
        return None
    except ValueError as error:
        raise Broken(str(error)) from None


def _length(kind: Kind, width: int, height: int, said: int) -> int:
    """What it must be."""
    if kind is Kind.NOTE:
        return min(said, MOST_NOTE_BYTES)
    if kind is Kind.SOUND:
        size = SAMPLE_BYTES * max(1, width)
        fits = width in CHANNELS and height < 2 and 0 < said <= MOST_SOUND_BYTES and said % size == 0
        return said if fits else -1
    return {Kind.PICTURE: width * height * 3, Kind.ALIVE: 0}[kind]


def read_note(payload: bytes) -> Note:
    """Raises Broken."""
    try:
        return msgspec.json.decode(payload, type=Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Broken(str(error)) from None
