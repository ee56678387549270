"""What a result keeps of a video besides its pictures and sound: titles, chapters and subtitles, as they are.

Times are moved with the pictures. A subtitle that the result's container cannot hold is left out and named, as are sound tracks
other than the main one: neither is worth refusing the music for.
"""

from __future__ import annotations  # Packet takes its stream type in the stubs only

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from engine.media.mux import Span
from engine.media.source import audio_stream, open_input

if TYPE_CHECKING:  # in the stubs only
    from av.container.core import Chapter

# What muxers write by themselves.
_OWN_METADATA = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
# Of a track; Matroska's others are its own statistics.
_TRACK_METADATA = {"language", "title"}

Copies = Sequence[tuple[SubtitleStream, SubtitleStream]]
"""Subtitles of a source, each with its copy in a result."""


def add_titles(source: InputContainer, container: OutputContainer, span: Span) -> None:
    """The file's title, date and the like, and its chapters as far as the result goes."""
    told = {key: value for key, value in source.metadata.items() if key.lower() not in _OWN_METADATA}
    container.metadata.update(told)
    container.set_chapters(list(_chapters(source, span)))


def add_subtitles(source: InputContainer, container: OutputContainer) -> Copies:
    """Those that the container holds, each with its copy in it."""
    held = [stream for stream in source.streams.subtitles if _holds(container, stream)]
    return [(stream, _add(container, stream)) for stream in held]


def subtitle_packets(video: Path, copies: Copies, span: Span) -> Iterator[av.Packet[Any]]:
    """The packets of what add_subtitles added, timed from the first frame shown, up to the end or the damage.

    Reads the file by itself: packets of pictures would wait in memory for the next thing that is said.
    """
    if not copies:
        return
    to = {stream.index: copy for stream, copy in copies}
    before = dict.fromkeys(to, 0)
    with open_input(video) as source, suppress(FFmpegError):
        for packet in source.demux([source.streams[index] for index in to]):
            if packet.pts is None or not packet.size:
                continue
            index, (first, last) = packet.stream.index, _ticks(span, packet.time_base)
            start = max(packet.pts - first, before[index])  # muxers take none from before the one before it
            end = min(packet.pts + (packet.duration or 0), last) - first
            if start > end or packet.pts >= last:
                continue
            packet.pts = packet.dts = before[index] = start
            packet.duration = end - start
            packet.stream = to[index]
            yield packet


def left_out(source: InputContainer, copies: Copies) -> tuple[str, ...]:
    """Tracks of the source that are not in a result with these subtitles, such as "stream 2, audio (deu)"."""
    kept = [audio_stream(source), *(stream for stream, _ in copies)]
    others = [each for each in (*source.streams.audio, *source.streams.subtitles) if each not in kept]
    return tuple(map(_called, others))


def _chapters(source: InputContainer, span: Span) -> Iterator[Chapter]:
    for chapter in source.chapters():
        first, last = _ticks(span, chapter["time_base"] or Fraction(1, av.time_base))
        start, end = max(chapter["start"], first), min(chapter["end"], last)
        if start < end:
            yield {**chapter, "start": start - first, "end": end - first}


def _ticks(span: Span, base: Fraction) -> tuple[int, int]:
    """Where the result begins and ends, on the video's own clock."""
    return round(Fraction(span.start_s) / base), round(Fraction(min(span.end_s, span.until_s)) / base)


def _add(container: OutputContainer, stream: SubtitleStream) -> SubtitleStream:
    copy = container.add_stream_from_template(stream, opaque=True)
    copy.metadata.update({key: value for key, value in stream.metadata.items() if key in _TRACK_METADATA})
    copy.disposition = stream.disposition
    return copy


def _holds(container: OutputContainer, stream: SubtitleStream) -> bool:
    """Whether the container's format takes it, header and all."""
    with av.open(os.devnull, "w", format=container.format.name) as alone:
        try:
            alone.add_stream_from_template(stream, opaque=True)
            alone.start_encoding()
        except (ValueError, FFmpegError):
            return False
    return True


def _called(stream: Stream) -> str:
    return f"stream {stream.index}, {stream.type}{f' ({stream.language})' if stream.language else ''}"
