"""What of a session is kept in a file: its checkpoint, and what its client was told. Bytes, no folder and no clock.

    "CUES", u32 CRC of the rest, u32 length of the JSON, JSON (`About`), the core's checkpoint

Nothing in it is executed when it is read; a file that was cut short or changed is refused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import msgspec

from engine.errors import PackageError
from engine.spec import StreamPolicy
from server.audio.resampling import WIRE_RATE
from server.core.checkpoint import Checkpoint
from server.protocol.config import Config, ConfigPatch, merge
from server.protocol.messages import AudioFormat
from server.wire_controls import config_of

MAGIC = b"CUES"
HEAD = struct.Struct("<4sII")


class About(msgspec.Struct, frozen=True):
    """saved_s: since the epoch. lasted_s: the session's age then. consumed: control messages that the checkpoint knows.

    revisions: as in `Revisions`. pictures: as in `Stamps`, the newest ones, step and capture time. nonce: as in `Identity`; empty
    where the server that kept it had none, and in that server's handles. model: the player's digest; empty where it was not kept.
    """

    session: str
    saved_s: float
    lasted_s: float
    consumed: int
    config: Config
    form: AudioFormat
    revisions: tuple[tuple[int, int, int], ...]
    pictures: tuple[tuple[int, int], ...]
    original_rate: int = WIRE_RATE
    nonce: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    about: About
    checkpoint: Checkpoint

    def to_bytes(self) -> bytes:
        about = msgspec.json.encode(self.about)
        rest = b"".join((struct.pack("<I", len(about)), about, self.checkpoint.to_bytes()))
        return MAGIC + struct.pack("<I", zlib.crc32(rest)) + rest

    @classmethod
    def from_bytes(cls, blob: bytes) -> Kept:
        """Raises PackageError when it is damaged or another thing."""
        if len(blob) < HEAD.size:
            raise PackageError(f"expected a kept session, found {len(blob)} bytes")
        magic, crc, length = HEAD.unpack_from(blob)
        if magic != MAGIC or crc != zlib.crc32(memoryview(blob)[8:]):
            raise PackageError("expected a kept session, found another thing or a damaged one")
        checkpoint = Checkpoint.from_bytes(blob[HEAD.size + length :])
        try:
            about = _about(blob[HEAD.size : HEAD.size + length], checkpoint.policy)
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise PackageError(f"a kept session of another version: {error}") from error
        return cls(about, checkpoint)


def _about(data: bytes, policy: StreamPolicy) -> About:
    """What the server that kept it could not turn yet is as it played, or as a session begins. Raises MsgspecError, KeyError,
    TypeError."""
    found = msgspec.json.decode(data)
    turned = msgspec.convert(found["config"], ConfigPatch)
    found["config"] = msgspec.to_builtins(merge(config_of(policy), turned))
    return msgspec.convert(found, About)
