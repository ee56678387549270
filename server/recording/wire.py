"""What goes to the process that makes a film: see `records`. What it says comes back as lines of JSON."""

from __future__ import annotations

from typing import BinaryIO, TypeAlias

import msgspec

from server.protocol.media import Media
from server.system import records


class Job(msgspec.Struct, frozen=True, tag="job"):
    """The first record. image_pixels: of the largest picture that is taken."""

    folder: str
    image_pixels: int
    memory_bytes: int


class Picture(msgspec.Struct, frozen=True, tag="picture"):
    """sample: of the recording, that sounded when it came."""

    sample: int
    media: Media


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


def read(source: BinaryIO) -> Record:
    """The next record; End when the other side has gone."""
    body = records.read(source)
    return _record.decode(body) if body else End()


def line(report: Report) -> bytes:
    return msgspec.json.encode(report) + b"\n"


def report_of(line: bytes) -> Report:
    """Raises msgspec.MsgspecError when it is none."""
    return _report.decode(line)
