"""What goes over the two pipes of a process that decodes pictures: see `records`. Pictures go in, each is answered, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

import msgspec

from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import Kind, Media, Size, StreamId
from server.system import records
from server.system.records import LENGTH


class Job(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a worker is for; the first record that it reads. side: S."""

    side: int
    image_pixels: int
    memory_bytes: int
    picture_s: float


class Picture(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """One that came by a way. size: width and height, of a raw one. looked_at: its pixels are wanted."""

    way: str
    kind: int
    payload: bytes
    size: tuple[int, int] | None = None
    looked_at: bool = True

    def media(self) -> Media:
        size = None if self.size is None else Size(*self.size)
        return Media(Kind(self.kind), StreamId.VIDEO, 0, 0, self.payload, size=size)


class LookBack(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The pixels of a way's newest picture are wanted after all."""

    way: str


class Forget(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Nothing comes by it any more."""

    way: str


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A worker's first answer."""


class Seen(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """pixels: [S, S, 3] of 8 bits; None when the codec needs more first, or for the reason that `code` and `text` give."""

    pixels: bytearray | None
    code: str = ""
    text: str = ""

    @property
    def error(self) -> ProtocolError | None:
        return ProtocolError(ErrorCode(self.code), self.text) if self.code else None


Asked: TypeAlias = Job | Picture | LookBack | Forget
Answer: TypeAlias = Ready | Seen
_asked = msgspec.msgpack.Decoder(Asked)
_answer = msgspec.msgpack.Decoder(Answer)


def asked(stream: BinaryIO) -> Iterator[Asked]:
    """What the server sends, to its end."""
    while body := records.read(stream):
        yield _asked.decode(body)


class Answers:
    """What a worker says, as it comes. Bound: one record, which is as long as a square of pixels."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Answer]:
        """The records that are complete with it. Raises ValueError or msgspec.MsgspecError when it is none."""
        self._held += data
        while len(self._held) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._held)
            if length > self._most_bytes:
                raise ValueError(f"a record of {length} bytes")
            end = LENGTH.size + length
            if len(self._held) < end:
                return
            with memoryview(self._held) as held, held[LENGTH.size : end] as record:
                # the one copy: a square of pixels is as large as what is read at once
                answer = _answer.decode(record)
            del self._held[:end]
            yield answer
