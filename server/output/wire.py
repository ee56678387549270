"""What goes through the pipe to an output's process: see `records`. Reports come back as lines of JSON."""

from __future__ import annotations

from typing import BinaryIO

import msgspec

from server.audio.original_sound import Sound
from server.audio.resampling import WIRE_RATE
from server.output.limits import OutputLimits
from server.output.targets import Target
from server.protocol.media import Media
from server.system import records


class Job(msgspec.Struct, frozen=True, tag="job"):
    """The first message. delay: samples that pictures and their sound are held back, None for music alone.

    original: what their sound is multiplied by, None where it is left out. late: samples that it may come after its moment.
    """

    target: Target
    delay: int | None
    original: float | None
    late: int
    fps: int
    video_kbps: int
    held_pictures: int
    held_bytes: int
    held_sound: int
    image_pixels: int
    memory_bytes: int


def job_of(
    target: Target, limits: OutputLimits, delay: int | None, original: float | None, image_pixels: int
) -> Job:
    """As the limits of outputs say. image_pixels: of the largest picture that may come."""
    return Job(
        target=target,
        delay=delay,
        original=original,
        late=limits.original_late_ms * WIRE_RATE // 1000,
        fps=limits.fps,
        video_kbps=limits.video_kbps,
        held_pictures=limits.held_pictures,
        held_bytes=limits.held_bytes,
        held_sound=int(limits.held_sound_s * WIRE_RATE),
        image_pixels=image_pixels,
        memory_bytes=limits.memory_bytes,
    )


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """samples: float32, mono, 48 kHz. first: index of the output's sample that is the first of them."""

    first: int
    samples: bytes


class Pictured(msgspec.Struct, frozen=True, tag="pictured"):
    """sample: of the output, that sounded when it came."""

    sample: int
    media: Media


class Sounded(msgspec.Struct, frozen=True, tag="sounded"):
    """sample: of the output, that sounded when the first one of the original sound was captured."""

    sample: int
    sound: Sound


class End(msgspec.Struct, frozen=True, tag="end"):
    """Nothing follows: finish."""


class Report(msgspec.Struct, frozen=True):
    """left_out: pictures. original_s, lost_original: of the original sound, seconds that are in it and samples that are not.

    error: why it is over; empty while it is not.
    """

    state: str
    """opening, open, done, error."""
    left_out: int = 0
    original_s: int = 0
    lost_original: int = 0
    error: str = ""


Sent = Job | Heard | Pictured | Sounded | End
_decoder = msgspec.msgpack.Decoder(Sent)


def read(source: BinaryIO) -> Sent:
    """The next message; End when the other side has gone."""
    body = records.read(source)
    return _decoder.decode(body) if body else End()
