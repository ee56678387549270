"""What goes to the process that makes a film: MessagePack behind its length. What it says comes back as lines of JSON."""

from __future__ import annotations

import struct
from typing import BinaryIO, TypeAlias

import msgspec

from server.protocol.media import Flag, Kind, Media, Size, StreamId

LENGTH = struct.Struct("<I")


class Job(msgspec.Struct, frozen=True, tag="job"):
    """The first record. image_pixels: of the largest picture that is taken."""

    folder: str
    image_pixels: int
    memory_bytes: int


class Picture(msgspec.Struct, frozen=True, tag="picture"):
    """sample: of the recording, that sounded when it came. The rest is of `Media`; size: width and height, of a raw one."""

    sample: int
    kind: int
    flags: int
    seq: int
    payload: bytes
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, sample: int, media: Media) -> Picture:
        size = None if media.size is None else (media.size.width, media.size.height)
        return cls(sample, int(media.kind), int(media.flags), media.seq, media.payload, size)

    @property
    def media(self) -> Media:
        size = None if self.size is None else Size(*self.size)
        kind, flags = Kind(self.kind), Flag(self.flags)
        return Media(kind, StreamId.VIDEO, self.seq, 0, self.payload, flags, size=size)


class Music(msgspec.Struct, frozen=True, tag="music"):
    """samples: float32, mono, of the recording from `first` on."""

    first: int
    samples: bytes


class End(msgspec.Struct, frozen=True, tag="end"):
    """Nothing follows: finish."""


class Report(msgspec.Struct, frozen=True):
    """taken: pictures that are in the film. done: it is finished. error: why it is over before; empty while it is not."""

    taken: int = 0
    done: bool = False
    error: str = ""


Record: TypeAlias = Job | Picture | Music | End
_record, _report = msgspec.msgpack.Decoder(Record), msgspec.json.Decoder(Report)


def pack(record: Record) -> bytes:
    body = msgspec.msgpack.encode(record)
    return LENGTH.pack(len(body)) + body


def read(source: BinaryIO) -> Record:
    """The next record; End when the other side has gone."""
    head = source.read(LENGTH.size)
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
    body = source.read(length)
    return _record.decode(body) if length and len(body) == length else End()


def line(report: Report) -> bytes:
    return msgspec.json.encode(report) + b"\n"


def report_of(line: bytes) -> Report:
    """Raises msgspec.MsgspecError when it is none."""
    return _report.decode(line)
