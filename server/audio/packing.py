"""Samples as payloads: PCM as it comes, FLAC and Opus in frames of 20 ms. One packer for each listener; it keeps state."""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from engine.frames import F32
from server.audio.resampling import PCM16, WIRE_RATE, pcm16
from server.protocol.media import Kind

FRAME = 960
LAYOUTS = {1: "mono", 2: "stereo"}
OPUS_BITS_PER_S = 128_000
CODED = {
    Kind.OPUS: ("libopus", {"application": "audio", "frame_duration": "20"}),
    Kind.FLAC: ("flac", {"frame_size": str(FRAME)}),
}
"""`audio`, not FFmpeg's default of the telephone's kind."""

Payload = tuple[int, bytes]
"""Samples of each channel, and what they became."""


class Packer(Protocol):
    """held: samples that wait for a frame to be full."""

    @property
    def held(self) -> int: ...

    def pack(self, samples: F32) -> list[Payload]: ...

    def finish(self) -> list[Payload]:
        """What was held, as the last frame."""


def packer(kind: Kind, channels: int) -> Packer:
    return Coded(kind, channels) if kind in CODED else Plain(kind, channels)


class Plain:
    """PCM."""

    held = 0

    def __init__(self, kind: Kind, channels: int) -> None:
        self._kind, self._channels = kind, channels

    def pack(self, samples: F32) -> list[Payload]:
        if not len(samples):
            return []
        whole = self._kind is Kind.PCM_S16
        data = (
            pcm16(samples, self._channels) if whole else np.repeat(samples[:, None], self._channels, axis=1)
        )
        return [(len(samples), data.tobytes())]

    def finish(self) -> list[Payload]:
        return []


class Coded:
    """Through an encoder of FFmpeg that gives one packet for each frame."""

    def __init__(self, kind: Kind, channels: int) -> None:
        self._kind, self._encoder, self._channels = kind, encoder_of(kind, channels), channels
        self._waiting: F32 = np.zeros(0, np.float32)  # bound: less than a frame
        self._at = 0

    @property
    def held(self) -> int:
        return len(self._waiting)

    def pack(self, samples: F32) -> list[Payload]:
        joined = np.concatenate((self._waiting, samples))
        whole = len(joined) // FRAME * FRAME
        self._waiting = joined[whole:]
        return [self._encode(joined[at : at + FRAME], FRAME) for at in range(0, whole, FRAME)]

    def finish(self) -> list[Payload]:
        """Opus has no shorter frames: its last one is filled up with silence, which its length does not count."""
        rest, self._waiting = self._waiting, self._waiting[:0]
        if not len(rest):
            return []
        filled = np.pad(rest, (0, FRAME - len(rest))) if self._kind is Kind.OPUS else rest
        return [self._encode(filled, len(rest))]

    def _encode(self, samples: F32, count: int) -> Payload:
        frame = frame_of(pcm16(samples, self._channels), self._at)
        self._at += len(samples)
        return count, b"".join(bytes(packet) for packet in self._encoder.encode(frame))


def frame_of(samples: PCM16, first: int) -> av.AudioFrame:
    """As FFmpeg takes them. samples: [n, channels]. first: the index of the first one."""
    packed = np.ascontiguousarray(samples.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=LAYOUTS[samples.shape[1]])
    frame.sample_rate, frame.pts, frame.time_base = WIRE_RATE, first, Fraction(1, WIRE_RATE)
    return frame


def encoder_of(kind: Kind, channels: int) -> AudioCodecContext:
    """Takes frames of `FRAME` samples of 16 bits and gives a packet for each."""
    name, options = CODED[kind]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = WIRE_RATE, LAYOUTS[channels], "s16"
    encoder.options = options
    if kind is Kind.OPUS:
        encoder.bit_rate = OPUS_BITS_PER_S
    return encoder
