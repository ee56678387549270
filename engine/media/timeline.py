"""Where the video lies on the file's own clock, from what the container says, without decoding.

The container's word is not the last one: a file may be cut off, and some containers say nothing. This module
gives both, what is declared and what the packets show.
"""

from __future__ import annotations  # Packet takes its stream type in the stubs only

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from engine.media.source import open_input, video_stream

AnyStream = TypeVar("AnyStream", VideoStream, AudioStream)

_DEFAULT_RATE = Fraction(25)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the video track lies on the file's own clock, from its packets."""

    start_s: float
    end_s: float
    packets: int


def packets(container: InputContainer, stream: AnyStream) -> Iterator[av.Packet[AnyStream]]:
    """The packets of a stream up to the end or the damage, then an empty one that flushes the decoder."""
    demuxed = container.demux(stream)
    while True:
        try:
            yield next(demuxed)
        except StopIteration:
            return
        except FFmpegError:
            flush: av.Packet[AnyStream] = av.Packet()  # type: ignore[assignment]
            flush.stream = stream
            yield flush
            return


def kept(container: InputContainer, stream: VideoStream, until_s: float) -> Iterator[av.Packet[VideoStream]]:
    """The whole packets of a video that stops early, in the order they are stored.

    until_s: seconds on the file's own clock. Ends before the first packet that is shown then or later: frames
    are stored in the order in which they need each other, so that nothing before it needs it.
    """
    for packet in packets(container, stream):
        if packet.size and not packet.is_corrupt:
            if shown_s(packet) >= until_s:
                return
            yield packet


def shown_s(packet: av.Packet[VideoStream]) -> float:
    """When a packet's frame is shown on the file's own clock; -inf where the file does not say."""
    time = packet.pts if packet.pts is not None else packet.dts
    return -inf if time is None else float(time * packet.time_base)


def scan(path: Path, until_s: float = inf) -> Extent:
    """Where the video track begins and ends, from its packets, without decoding. until_s: see kept."""
    start_s, last_s, end_s, count = inf, -inf, -inf, 0
    with open_input(path) as container:
        stream = video_stream(container, path)
        frame_s = float(1 / frame_rate(stream))
        for packet in kept(container, stream, until_s):
            if not packet.is_discard:
                time_s = shown_s(packet)
                if time_s == -inf:  # a bare stream, without times: one frame after the other
                    time_s = end_s if count else 0.0
                length_s = float(packet.duration * packet.time_base) if packet.duration else frame_s
                start_s, count = min(start_s, time_s), count + 1
                # of those decoded out of order, a packet's duration is not how long it is shown
                if time_s >= last_s:
                    last_s, end_s = time_s, time_s + length_s
    return Extent(start_s, min(end_s, until_s), count) if count else Extent(0.0, 0.0, 0)


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames per second, above zero: the average, else FFmpeg's guess, else 25."""
    return stream.average_rate or stream.guessed_rate or _DEFAULT_RATE


def declared_s(container: InputContainer, stream: VideoStream) -> float:
    """How long the file says the video lasts; 0 where it does not say."""
    return _stream_s(stream) or max(0.0, _container_end_s(container) - _start_s(stream))


def video_end_s(container: InputContainer, stream: VideoStream) -> float:
    """How long the video lasts as far as the file tells it apart from the sound; 0 where it does not."""
    return _stream_s(stream) or (0.0 if container.streams.audio else declared_s(container, stream))


def _stream_s(stream: VideoStream) -> float:
    if stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")  # Matroska: 00:01:02.345000000
    minutes, _, seconds = rest.partition(":")
    try:
        return max(0.0, int(hours) * 3600 + int(minutes) * 60 + float(seconds) - _start_s(stream))
    except ValueError:
        return 0.0


def _container_end_s(container: InputContainer) -> float:
    """The end on the file's own clock. Matroska and FLV count from zero, the others from their start."""
    if not container.duration:
        return 0.0
    from_zero = container.format.name.startswith(("matroska", "flv"))
    start = 0 if from_zero else container.start_time or 0
    return (start + container.duration) / av.time_base


def _start_s(stream: VideoStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))
