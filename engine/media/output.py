"""Where a result is written: which endings there are, and a name that never holds half a file.

A result is written beside its place under `.<stem>.partial<ending>`, flushed to the disk and then moved there
in one step. check_output says before a long run what would go wrong after it.
"""

from __future__ import annotations  # Packet takes its stream type in the stubs only

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from math import inf
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from engine.errors import MediaError
from engine.media.reserved import device_of
from engine.media.source import absolute, open_input, reason, video_stream
from engine.media.timeline import kept, shown_s


@dataclass(frozen=True, slots=True)
class Target:
    """What an ending stands for."""

    format: str  # FFmpeg's muxer
    codec: str  # of the sound
    bit_rate: int = 0  # of the sound, bits per second; 0 for lossless
    holds_video: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


_LOSSY = 192_000
# PyAV leaves the tag to FFmpeg. Of HEVC it picks hev1; Apple's players want the one that the video came with.
_APPLE_HEVC = {"hvc1"}
# Nothing but the tag says which ProRes it is: without it 4444 is taken for 422 HQ, and its 12 bits are read as 10.
_PRORES = {"apco", "apcs", "apcn", "apch", "ap4h", "ap4x"}
_TAGS_KEPT = {"mp4": _APPLE_HEVC, "mov": _APPLE_HEVC | _PRORES, "matroska": _PRORES}
# The index goes to the front, so that a browser plays the file while it loads.
_INDEX_FIRST = {"movflags": "+faststart"}

TARGETS: Mapping[str, Target] = {
    ".wav": Target("wav", "pcm_s16le", options={"rf64": "auto"}),
    ".flac": Target("flac", "flac"),
    ".mp3": Target("mp3", "libmp3lame", _LOSSY),
    ".m4a": Target("ipod", "aac", _LOSSY, options=_INDEX_FIRST),
    ".ogg": Target("ogg", "libopus", _LOSSY),
    ".opus": Target("opus", "libopus", _LOSSY),
    ".mkv": Target("matroska", "aac", _LOSSY, holds_video=True),
    ".mp4": Target("mp4", "aac", _LOSSY, holds_video=True, options=_INDEX_FIRST),
    ".m4v": Target("mp4", "aac", _LOSSY, holds_video=True, options=_INDEX_FIRST),
    ".mov": Target("mov", "aac", _LOSSY, holds_video=True, options=_INDEX_FIRST),
    ".webm": Target("webm", "libopus", _LOSSY, holds_video=True),
}

# By anybody. A file that nobody may write is not to be replaced, although its folder would allow it.
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_LONGEST_NAME = 255  # bytes, on most file systems

_SOUND_ENDINGS = [ending for ending, target in TARGETS.items() if not target.holds_video]


def target_of(output: Path, audio_only: bool = False) -> Target:
    """What the output's ending stands for.

    MediaError for an unknown ending, and for a video ending where sound alone is asked for: a video file
    without a picture surprises whoever opens it.
    """
    target = TARGETS.get(output.suffix.lower())
    if target is None:
        found = f"found {output.suffix}" if output.suffix else "found none"
        raise MediaError(f"{output}: expected an ending out of {' '.join(TARGETS)}, {found}")
    if audio_only and target.holds_video:
        expected = f"expected an ending out of {' '.join(_SOUND_ENDINGS)}"
        raise MediaError(f"{output}: sound alone: {expected}, found {output.suffix}")
    return target


def check_output(output: Path, video: Path, audio_only: bool = False) -> None:
    """MediaError if finish could not write this output for this video.

    Tries it: makes the partial file, with the video's header where the output holds video, and removes it.
    """
    target = target_of(output, audio_only)
    check_place(output, video)
    with _partial(output) as partial:
        if target.holds_video:
            _try_header(partial, output, target, video)
        else:
            partial.touch()


@contextmanager
def replacing(output: Path, *inputs: Path) -> Iterator[Path]:
    """Gives the partial file's path to write to; moves it to output on leaving, or removes it on an error.

    MediaError if output is one of the inputs or cannot be written, and where it may not be replaced, as on Windows while a player
    has it open: the finished file is then beside it.
    """
    check_place(output, *inputs)
    with _partial(output) as partial:
        yield partial
        _to_disk(partial)
        try:
            partial.replace(output)
        except PermissionError as error:
            kept = _beside(output)
            partial.rename(kept)
            raise MediaError(
                f"{output}: cannot be replaced, perhaps a player has it open ({reason(error)}); the result is {kept}"
            ) from error


def open_output(partial: Path, target: Target) -> OutputContainer:
    """A container of the target's format at the partial file."""
    return av.open(absolute(partial), "w", format=target.format, options=dict(target.options))


def add_copy(container: OutputContainer, video: VideoStream, output: Path) -> VideoStream:
    """Add a stream for the video's packets as they are. MediaError if the container cannot hold them."""
    try:
        copy = container.add_stream_from_template(video, opaque=True)
    except ValueError as error:
        raise _unfit(output, video) from error
    tag = video.codec_context.codec_tag
    if tag in _TAGS_KEPT.get(container.format.name, ()):
        copy.codec_context.codec_tag = tag
    return copy


def in_time(packets: Iterator[av.Packet[VideoStream]], video: Path) -> Iterator[av.Packet[VideoStream]]:
    """The packets, which a container can hold: those that are decoded at one time follow each other by a tick, since MP4 does not
    take what Matroska, which counts milliseconds, holds. MediaError for a bare stream (.h264), whose packets have no times, and
    where times run back, as in files that were put behind one another."""
    last: int | None = None
    given: int | None = None
    for packet in packets:
        if shown_s(packet) == -inf:
            raise MediaError(
                f"{video}: expected packets with times, found a bare stream; encode it into a file first: "
                f"ffmpeg -i {video.name} {video.stem}.mkv"
            )
        if last is not None and packet.dts is not None and packet.dts < last:
            back_s = float((last - packet.dts) * packet.time_base)
            raise MediaError(
                f"{video}: expected times that rise, found them {back_s:.1f} s back in it; put it in order first: "
                f"ffmpeg -i {video.name} -c copy {video.stem}.mkv"
            )
        last = packet.dts if packet.dts is not None else last
        if given is not None and packet.dts is not None and packet.dts <= given:
            packet.dts = given + 1
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
        given = packet.dts if packet.dts is not None else given
        yield packet


def check_place(output: Path, *inputs: Path) -> None:
    """MediaError where no file can be written, or where it would be one of the inputs."""
    if device := device_of(output.name):
        raise MediaError(f"{output}: is the device {device} on Windows, not a file; expected another name")
    try:
        mode = _mode(output)
        if stat.S_ISDIR(mode):
            raise MediaError(f"{output}: expected a file to write, found a directory")
        if not output.parent.is_dir():
            raise MediaError(f"{output}: cannot be written: there is no directory {output.parent}")
        if mode and not mode & _WRITABLE:
            raise MediaError(f"{output}: is there already and write-protected; expected another name")
        for each in inputs:
            if mode and each.exists() and output.samefile(each):
                raise MediaError(f"{output}: is the input itself; expected another name for the result")
    except (OSError, ValueError) as error:
        raise MediaError(f"{output}: cannot be written: {reason(error)}") from error


def _mode(path: Path) -> int:
    """0 where nothing is. Raises OSError or ValueError for a path that no file can have; is_dir() and exists() only say no to it
    from Python 3.14 on."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


@contextmanager
def _partial(output: Path) -> Iterator[Path]:
    partial = _partial_of(output)
    try:
        try:
            yield partial
        finally:
            partial.unlink(missing_ok=True)
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{output}: cannot be written: {reason(error)}") from error


def _beside(output: Path) -> Path:
    """A name like it that nothing has."""
    names = (output.with_name(f"{output.stem} ({n}){output.suffix}") for n in count(2))
    return next(name for name in names if not name.exists())


def _partial_of(output: Path) -> Path:
    """Of a name that would become too long by it, a digest."""
    name, stem = os.fsencode(output.name), output.stem
    if len(name) + len("..partial") > _LONGEST_NAME:
        stem = sha256(name).hexdigest()
    return output.with_name(f".{stem}.partial{output.suffix}")


def _try_header(partial: Path, output: Path, target: Target, video: Path) -> None:
    with open_input(video) as source, open_output(partial, target) as container:
        stream = video_stream(source, video)
        for _ in in_time(kept(source, stream, inf), video):
            pass
        add_copy(container, stream, output)
        try:
            container.start_encoding()
        except FFmpegError as error:
            raise (_unfit(output, stream) if partial.exists() else error) from error


def _unfit(output: Path, video: VideoStream) -> MediaError:
    codec = video.codec_context.codec.canonical_name
    fitting = [ending for ending, target in TARGETS.items() if target.holds_video and _fits(video, target)]
    others = [ending for ending in fitting if ending != output.suffix.lower()] or _SOUND_ENDINGS
    return MediaError(f"{output}: {output.suffix} cannot hold {codec} video as it is; try {' '.join(others)}")


def _fits(video: VideoStream, target: Target) -> bool:
    with av.open(os.devnull, "w", format=target.format) as container:
        try:
            container.add_stream_from_template(video, opaque=True)
        except ValueError:
            return False
    return True


def _to_disk(path: Path) -> None:
    with path.open("r+b") as file:  # Windows writes out what is open for writing
        os.fsync(file.fileno())
