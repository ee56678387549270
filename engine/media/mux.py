"""Encoding sound and copying video packets into one container.

Packets come out of iterators, each in the order of its decoding times; merged by that time they
interleave without a queue. The copied video starts at time 0 with its first frame shown.
"""

from __future__ import annotations  # Packet takes its stream type in the stubs only

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from math import inf
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from engine.media.audio import SAMPLE_RATE_OUT
from engine.media.output import Target, add_copy, in_time
from engine.media.source import video_stream
from engine.media.timeline import kept, shown_s


@dataclass(frozen=True, slots=True)
class Span:
    """The part of the video that the result holds, in seconds on the video's own clock."""

    start_s: float  # the first frame shown
    end_s: float  # the end of the last one
    until_s: float = inf  # copying stops before the first packet that is shown then or later

    @property
    def cut(self) -> bool:
        return self.until_s < inf

    @property
    def duration_s(self) -> float:
        return max(0.0, self.end_s - self.start_s)

    @property
    def samples(self) -> int:
        return round(self.duration_s * SAMPLE_RATE_OUT)


def add_sound(container: OutputContainer, target: Target) -> AudioStream:
    """Add a stereo stream at 48 kHz in the target's codec."""
    codec, rate = target.codec, SAMPLE_RATE_OUT
    stream = container.add_stream(codec, rate=rate, layout="stereo", bit_rate=target.bit_rate)
    assert isinstance(stream, AudioStream)
    return stream


def encoded(stream: AudioStream, frames: Iterator[AudioFrame]) -> Iterator[av.Packet[AudioStream]]:
    """The packets of a sound."""
    for frame in frames:
        yield from stream.encode(frame)
    yield from stream.encode(None)


def copied(
    source: InputContainer, video: Path, container: OutputContainer, span: Span, output: Path
) -> Iterator[av.Packet[VideoStream]]:
    """Add a copy of the video to the container now. Gives its packets, timed from the first frame shown."""
    stream = video_stream(source, video)
    copy = add_copy(container, stream, output)
    return _copy(source, video, copy, span)


def interleaved(*streams: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
    """All streams' packets in the order of their decoding times."""
    return merge(*streams, key=_decoding_s)


def _decoding_s(packet: av.Packet[Any]) -> float:
    """When a packet is to be decoded, in seconds; at once where it does not say."""
    time = packet.dts if packet.dts is not None else packet.pts
    return -inf if time is None else float(time * packet.time_base)


def _copy(
    source: InputContainer, video: Path, copy: VideoStream, span: Span
) -> Iterator[av.Packet[VideoStream]]:
    started = False
    for packet in in_time(kept(source, video_stream(source, video), span.until_s), video):
        time_s = shown_s(packet)
        started |= packet.is_keyframe or time_s >= span.start_s
        if not started or (packet.is_discard and time_s >= span.end_s):
            continue
        offset = round(Fraction(span.start_s) / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - offset
        packet.dts = None if packet.dts is None else packet.dts - offset
        packet.stream = copy
        yield packet
